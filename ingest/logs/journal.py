"""The journal as `journalctl -o export` writes it: an object of its message and its time for each entry.

A field is a line of its name and value. One whose value has more lines than one, or what no text has, is its name on a
line alone, then the value's length (8 bytes, the lowest first), its bytes, and the end of a line: whatever stands in
it, none of it is another field.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from ingest.logs import formats
from ingest.logs.streams import Pieces, buffered

BEGINS = (b"__CURSOR=", b"__REALTIME_TIMESTAMP=")
_LONGEST = 1_000_000  # bytes that are kept of a value
_OF_ENTRY = (b"MESSAGE", b"__REALTIME_TIMESTAMP")
_NAME = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}")
_OF_LENGTH = 8  # bytes
_MOST = 1 << 40  # bytes of a value: eight bytes of text are more


def entries(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each entry as a line of JSON."""
    fields: dict[str, str] = {}
    for name, value in chain(_fields(buffered(Pieces(iter(pieces)))), [(b"", b"")]):
        field = name.decode() if name in _OF_ENTRY else ""
        if fields and (field in fields or not name):  # blank lines between entries may have been left out
            yield json.dumps(fields).encode() + b"\n"
            fields = {}
        if field:
            fields[field] = formats.decoded(value)


def _fields(source: io.BufferedReader) -> Iterator[tuple[bytes, bytes]]:
    """Yield the fields by their names; between entries one without a name."""
    begun = b""
    while line := begun + source.readline(_LONGEST):
        begun = b""
        if not line.endswith(b"\n"):
            _skip_line(source)
        *before, line = line.removesuffix(b"\n").split(b"\n")
        for each in before:
            yield each.partition(b"=")[::2]
        name, equals, value = line.partition(b"=")
        if not equals and _NAME.fullmatch(name):
            head = source.read(_OF_LENGTH)
            length = int.from_bytes(head, "little")
            if len(head) < _OF_LENGTH or length > _MOST:  # it is a line of text
                begun = head
                continue
            value = _value(source, length)
        yield name, value


def _value(source: io.BufferedReader, length: int) -> bytes:
    """Return the first bytes of a value of this length, and go behind the end of its line."""
    value = source.read(min(length, _LONGEST))
    left = length - len(value)
    while left > 0 and (skipped := source.read(min(left, _LONGEST))):
        left -= len(skipped)
    source.read(1)
    return value


def _skip_line(source: io.BufferedReader) -> None:
    while (rest := source.readline(_LONGEST)) and not rest.endswith(b"\n"):
        pass
