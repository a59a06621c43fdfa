"""Lines of JSON by columns: what is known of the objects in a log decides how the next lines are decoded.

A structure has the names and the nesting of all objects that were seen. A line is decoded by it where every name in it
is known, and every value is of a kind that `formats.json` reads as a text. Others are left, and widen the structure.
Combined lines that a container's runtime put into objects are taken apart as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import polars as pl

from ingest.logs import formats
from ingest.logs.columns.combined import Combined
from ingest.logs.columns.found import Found, Named
from ingest.logs.formats.fields import READ_IN_JSON, compact, fields_of
from ingest.logs.formats.json_lines import DEEPEST, FIELDS, QUERIES, WRAPPERS, ZONE, first_of, is_of_grok
from ingest.logs.formats.nested import may_be_read
from ingest.logs.formats.w3c import CLOUDFRONT, as_sent_under

_LEARNED = 64  # lines of one file, at most, that may widen the structure
_KINDS = 8  # of objects in a batch, by which of the fields are there: the lines of others are left
_REMEMBERED = 256  # of these kinds
_Scalar = str | int | float | bool | None
_Value = _Scalar | list[_Scalar]
_Names = dict[str, Any]  # of an object: None for a value, `_Names` for an object
_NOT_IN_NAMES = re.compile(r'["\\\x00-\x1f]')

_object = msgspec.json.Decoder(dict[str, Any]).decode


class _Structure(NamedTuple):
    """How lines are decoded, and where the fields are that are read."""

    names: _Names
    decoder: msgspec.json.Decoder[Any]
    keys: tuple[str, ...]  # compact
    wrapper: str  # that of a program's whole line; "" where there is none
    values: attrgetter[tuple[Any, ...]]


class JsonLines:
    """Takes the lines of JSON of one file apart."""

    def __init__(self) -> None:
        self._structure: _Structure | None = None
        self._left = _LEARNED
        self._named: dict[frozenset[str], Named] = {}

    def found(self, lines: Sequence[bytes]) -> Iterator[Found]:
        """Yield what is found in the lines of a known structure, for each set of fields that they have."""
        rows: list[int] = []
        values: list[tuple[Any, ...]] = []
        used = self._structure
        for row, line in enumerate(lines):
            structure = self._structure
            try:
                if structure is None or len(line) > formats.LONGEST:
                    raise msgspec.ValidationError
                decoded = structure.decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                if self._learn(line):  # what comes next has other fields
                    if used is not None and rows:
                        yield from self._of_kinds(rows, used, values)
                    rows, values, used = [], [], self._structure
                continue
            rows.append(row)
            values.append(structure.values(decoded))
        if used is not None and rows:
            yield from self._of_kinds(rows, used, values)

    def _of_kinds(self, rows: list[int], used: _Structure, values: list[tuple[Any, ...]]) -> Iterator[Found]:
        keys = used.keys
        columns = zip(keys, zip(*values, strict=True), strict=True)
        texts = [
            pl.Series(key, _lines(column) if key == used.wrapper else _texts(key, column), dtype=pl.String)
            for key, column in columns
        ]
        frame = pl.DataFrame([pl.Series("_row", rows, dtype=pl.UInt32), *texts])
        kind = pl.sum_horizontal(pl.col(key).is_not_null().cast(pl.UInt64) * 2**bit for bit, key in enumerate(keys))
        kinds = frame.with_columns(_kind=kind).partition_by("_kind", include_key=False)
        for some in sorted(kinds, key=len)[-_KINDS:]:
            here = frozenset(key for key in keys if some[key].null_count() == 0)
            named = self._named.get(here)
            if named is None:
                fields = fields_of(tuple(sorted(here)))
                if fields.missing:
                    if used.wrapper in here:
                        yield from _within(some, used.wrapper)
                    continue
                if len(self._named) == _REMEMBERED:
                    self._named.clear()
                named = self._named[here] = Named(fields, as_sent_under(here))
            yield named.found(some.select("_row", *named.names))

    def _learn(self, line: bytes) -> bool:
        """Widen the structure by the names of this line; return whether that could be done."""
        if not self._left or len(line) > formats.LONGEST:
            return False
        self._left -= 1
        try:
            given = _object(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        names = _together(self._structure.names if self._structure else {}, given)
        structure = None if names is None or is_of_grok(names) else _structure(names)
        self._structure = structure or self._structure
        return structure is not None


def _together(names: _Names, given: dict[str, Any], depth: int = 0, outer: str = "") -> _Names | None:
    """Return the names with those of this object; None where one is an object's here and a value's there, where one is
    a query that is taken apart, or none that a struct can have, or the object is a time. `outer` are the names around
    the object."""
    if ZONE in given:
        return None
    found = dict(names)
    for name, value in given.items():
        if _NOT_IN_NAMES.search(name) or (isinstance(value, dict) and compact(outer + name) in QUERIES):
            return None
        before = found.get(name)
        if isinstance(value, dict):
            inner = _together(before or {}, value, depth + 1, outer + name) if depth < DEEPEST else None
            if inner is None or (name in found and before is None):
                return None
            found[name] = inner
        elif before is not None:
            return None
        else:
            found[name] = None
    return found


def _structure(names: _Names) -> _Structure | None:
    """Return how lines of these names are decoded; None where they are too many, or two of them are one."""
    paths = dict(_paths(names))
    wrapping = [name for name, inner in names.items() if inner is None and compact(name) in WRAPPERS]
    wrapper = wrapping[0] if len(wrapping) == 1 else ""  # of several the line says which comes first
    inside = f"f{list(names).index(wrapper)}" if wrapper else ""
    known = {
        path: key
        for path, key in paths.items()
        if key in READ_IN_JSON or may_be_read(key) or key.startswith(CLOUDFRONT) or path == inside
    }
    keys = tuple(known.values())
    if not 2 <= len(keys) < 64 or len(set(keys)) < len(keys) or len(paths) >= FIELDS:
        return None
    return _Structure(names, msgspec.json.Decoder(_struct(names)), keys, compact(wrapper), attrgetter(*known))


def _paths(names: _Names, path: str = "", before: str = "") -> Iterator[tuple[str, str]]:
    """Yield where each value is, as attributes of `_struct`, and its compact name."""
    for number, (name, inner) in enumerate(names.items()):
        if inner is None:
            yield f"{path}f{number}", compact(before + name)
        else:
            yield from _paths(inner, f"{path}f{number}.", before + name)


def _struct(names: _Names) -> type[msgspec.Struct]:
    """Return a struct of objects with these names, or some of them, and no others."""
    fields: list[tuple[str, Any, Any]] = []
    for number, inner in enumerate(names.values()):
        if inner is None:
            fields.append((f"f{number}", _Value, None))
        else:
            its = _struct(inner)
            fields.append((f"f{number}", its, msgspec.field(default_factory=its)))
    rename = {f"f{number}": name for number, name in enumerate(names)}
    return msgspec.defstruct("Line", fields, rename=rename, forbid_unknown_fields=True, gc=False)


def _within(frame: pl.DataFrame, wrapper: str) -> Iterator[Found]:
    """Yield what is found in the combined lines that the column `wrapper` holds."""
    for found in Combined(common=False).found([line.encode() for line in frame[wrapper].to_list()]):
        yield found._replace(frame=found.frame.with_columns(_row=frame["_row"].gather(found.frame["_row"])))


def _lines(values: Sequence[Any]) -> list[str | None]:
    return [value if type(value) is str else None for value in values]


def _texts(key: str, values: Sequence[Any]) -> list[str | None]:
    """Return values as `formats.json` reads them: of a list mostly its first."""
    return [
        value
        if value is None or type(value) is str
        else value[0]
        if type(value) is list and len(value) == 1 and type(value[0]) is str
        else str(first_of(key, value))
        for value in values
    ]
