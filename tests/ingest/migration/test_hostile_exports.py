"""Exports that are damaged or made up: a row is counted once, or the file refused in words; neighbours are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.logs.files import ImportFailed
from ingest.migration import export, sql_dump
from ingest.migration.export import Action, Broken, Left, json_objects
from ingest.migration.members import members
from ingest.migration.sql_dump import TableRow
from tests.ingest.migration import exports
from tests.ingest.migration.exports import exported, read, taken, written

FILES: dict[str, tuple[str, bytes]] = {
    "goatcounter": ("goatcounter", exports.GOATCOUNTER.encode()),
    "umami": ("umami", exports.UMAMI_EVENTS.encode()),
    "umami of postgres": ("umami", exports.umami_postgres().encode()),
    "umami of mysql": ("umami", exports.umami_mysql().encode()),
    "matomo": ("matomo", exports.MATOMO_DUMP),
    "matomo's api": ("matomo", json.dumps(exports.MATOMO_API).encode()),
    "ga4": ("ga4", exports.GA4_LINES.encode()),
}
DAMAGE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@DAMAGE
@given(data=st.data())
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused_in_words(tmp_path: Path, name: str, data: st.DataObject) -> None:
    product, whole = FILES[name]
    at = data.draw(st.integers(0, len(whole)))
    until = data.draw(st.one_of(st.just(len(whole)), st.integers(at, min(at + 40, len(whole)))))
    damaged = whole[:at] + data.draw(st.binary(max_size=12)) + whole[until:]
    try:
        rows, _ = read(product, *written(tmp_path, {"file": damaged}))
    except ImportFailed:
        return
    if rows:
        batch, _ = taken(rows)
        counted = len(batch.accepted) + sum(batch.refused.values()) + len(batch.not_understood)
        assert counted == batch.lines == len(rows)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in _places(each, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(copy[path[0]], path[1:], other)
    return copy


@DAMAGE
@given(data=st.data())
@pytest.mark.parametrize(("product", "whole"), [("matomo", exports.MATOMO_API[0]), ("ga4", exports.GA4[4])])
def test_any_value_in_any_place_of_json_is_read_or_refused(
    tmp_path: Path, product: str, whole: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(_places(whole)[1:]))
    text = json.dumps(_with(whole, path, data.draw(_JSON | st.just("\ud800"))))
    try:
        rows, _ = read(product, *written(tmp_path, {"file": text + "\n" + json.dumps(whole)}))
    except ImportFailed:
        return
    batch, _ = taken(rows)
    assert len(batch.accepted) >= 1  # the neighbour
    assert all(isinstance(row, Action | Left | Broken) for row in rows)


def _mysql(value: bytes | None) -> bytes:
    if value is None:
        return b"NULL"
    escaped = value.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\n", b"\\n").replace(b"\0", b"\\0")
    return b"_binary '" + escaped + b"'"


def _copy(value: bytes | None) -> bytes:
    if value is None:
        return b"\\N"
    for plain, escaped in ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r")):
        value = value.replace(plain, escaped)
    return value


def _plain(value: bytes | None) -> bytes:
    return b"NULL" if value is None else b"'" + value.replace(b"'", b"''") + b"'"


def _statement(head: bytes, form: Callable[[bytes | None], bytes], rows: list[tuple[bytes | None, ...]]) -> bytes:
    return head + b",".join(b"(" + b",".join(map(form, row)) + b")" for row in rows) + b";\n"


@DAMAGE
@given(rows=st.lists(st.tuples(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=20)), min_size=1))
def test_what_a_dump_has_written_is_read(tmp_path: Path, rows: list[tuple[bytes | None, ...]]) -> None:
    columns = b"CREATE TABLE `my_log_visit` (\n  `a` blob,\n  `key_of_it` blob,\n  KEY `a` (`a`)\n) ENGINE=InnoDB;\n"
    mysql = columns + _statement(b"INSERT INTO `my_log_visit` VALUES ", _mysql, rows)
    copied = [b"\t".join(map(_copy, row)) + b"\n" for row in rows]
    postgres = b"COPY public.log_visit (a, key_of_it) FROM stdin;\n" + b"".join(copied) + b"\\.\n"
    inserts = _statement(b"INSERT INTO public.log_visit (a, key_of_it) VALUES ", _plain, rows)
    for text in (mysql, postgres, inserts):
        (member,) = members(written(tmp_path, {"dump.sql": text + b"-- the end\n"}))
        found = list(sql_dump.rows(member, ["log_visit"]))
        assert [tuple(row.values.values()) for row in found if isinstance(row, TableRow)] == rows
        assert len(found) == len(rows)


def test_a_long_object_is_not_decoded_again_for_each_piece_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []

    class Decoder(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> Any:
            lengths.append(len(s) - idx)
            return super().raw_decode(s, idx)

    monkeypatch.setattr(json, "JSONDecoder", Decoder)
    text = json.dumps({"rows": [{"value": number} for number in range(50_000)]}, indent=1)
    (member,) = members(written(tmp_path, {"long.json": text}))
    assert len(list(json_objects(member))) == 1
    assert sum(lengths) < 4 * len(text)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_objects_of_json_do_not_depend_on_where_a_piece_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(export, "_CHUNK", size)
    wanted = [{"a": "]},{\U0001f600", "b": [1, {"c": None}]}, {}, {"long": "x" * 300}, {"d": 1}]
    (member,) = members(written(tmp_path, {"some.json": json.dumps(wanted, indent=1, ensure_ascii=False)}))
    found = [each for each in json_objects(member) if not isinstance(each, Broken)]
    assert [row for _, row in found] == wanted
    assert [number for number, _ in found] == [2, 11, 12, 15]


def test_a_time_with_many_digits_is_none(tmp_path: Path) -> None:
    text = json.dumps(exports.GA4[1] | {"event_timestamp": "1E999999999"})
    (row,) = exported(tmp_path, "ga4", {"e.jsonl": text}).rows()
    assert "is no microseconds" in row.why


@pytest.mark.parametrize("value", ["\ufdfa" * 100_000, "a" * 1_000_000, "/" * 100_000, "#" * 100_000, "://" * 100_000])
def test_values_without_end_cost_no_more_than_they_are_long(tmp_path: Path, value: str) -> None:
    lists = {"imported_locations": "country", "imported_pages": "page", "imported_browsers": "browser"}
    files = {f"{name}.csv": f"date,{column},visitors,pageviews\n2024-05-01,{value},1,1\n{value},a,1,1\n"
             for name, column in lists.items()}  # fmt: skip
    rows = list(exported(tmp_path, "plausible", files).rows())
    assert [type(row).__name__ for row in rows] == ["Total", "Broken"] * 3
