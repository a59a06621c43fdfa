"""The format Native as a client of a newer protocol expects it.

The embedded engine writes Native as for a client of no protocol version. From version 54454 on a client expects two
more things, which are put in here: a head in front of each block, and a byte in front of each column's values, which
says that they are stored plainly. To find the ends of columns and blocks, values are passed over by their types.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

REVISION = 54454  # from which on clients expect it so

_HEAD = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # no overflows, no bucket
_PLAIN = b"\x00"
_WIDTHS = (
    dict.fromkeys(("UInt8", "Int8", "Bool", "Enum8", "Nothing", "Tuple"), 1)
    | dict.fromkeys(("UInt16", "Int16", "Enum16", "Date", "BFloat16"), 2)
    | dict.fromkeys(("UInt32", "Int32", "Float32", "Date32", "DateTime", "IPv4", "Time", "Decimal32"), 4)
    | dict.fromkeys(("UInt64", "Int64", "Float64", "DateTime64", "Time64", "Decimal64"), 8)
    | dict.fromkeys(("UInt128", "Int128", "UUID", "IPv6", "Decimal128", "Point"), 16)
    | dict.fromkeys(("UInt256", "Int256", "Decimal256"), 32)
)
_SHAPES = {"Ring": "Array(Point)", "LineString": "Array(Point)", "Polygon": "Array(Ring)"}
_SHAPES |= {"MultiLineString": "Array(LineString)", "MultiPolygon": "Array(Polygon)"}


class UnknownType(Exception):
    """Values of this type cannot be passed over."""


def reframed(body: bytes) -> bytes:
    """Blocks of Native for a client of `REVISION` or later. Raises `UnknownType`."""
    return b"".join(_pieces(body))


def _pieces(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        start = at
        columns, at = _number(body, at)
        rows, at = _number(body, at)
        yield _HEAD + body[start:at]
        for _ in range(columns):
            start = at
            length, at = _number(body, at)
            length, at = _number(body, at + length)
            kind = body[at : at + length].decode()
            at += length
            yield body[start:at] + _PLAIN
            start, at = at, _passed(body, at, kind, rows)
            yield body[start:at]


def _number(body: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _long(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 8], "little")


def _passed(body: bytes, at: int, kind: str, rows: int) -> int:
    """The place behind a column, whose versions of dictionaries come first. A column without rows has nothing."""
    return _values(body, at + 8 * _dictionaries(kind), kind, rows) if rows else at


def _dictionaries(kind: str) -> int:
    name, inner = _parsed(kind)
    return 1 if name == "LowCardinality" else sum(map(_dictionaries, inner))


def _values(body: bytes, at: int, kind: str, rows: int) -> int:
    name, inner = _parsed(kind)
    match name:
        case "String":
            for _ in range(rows):
                length, at = _number(body, at)
                at += length
            return at
        case "Nullable":
            return _values(body, at + rows, inner[0], rows)
        case "Array":
            within = _long(body, at + 8 * (rows - 1)) if rows else 0
            return _values(body, at + 8 * rows, inner[0], within)
        case "Tuple" if inner:
            for each in inner:
                at = _values(body, at, each, rows)
            return at
        case "LowCardinality":
            if not rows:
                return at
            key = _parsed(inner[0])[1][0] if inner[0].startswith("Nullable(") else inner[0]
            index = 1 << (_long(body, at) & 255)
            at = _values(body, at + 16, key, _long(body, at + 8))
            return at + 8 + index * _long(body, at)
        case _:
            return at + rows * _width(kind, name)


@cache
def _width(kind: str, name: str) -> int:
    """Bytes of a value."""
    if name in _WIDTHS:
        return _WIDTHS[name]
    if name.startswith("Interval"):
        return 8
    if name == "FixedString":
        return int(_arguments(kind)[0])
    if name == "Decimal":
        digits = int(_arguments(kind)[0])
        return 4 if digits <= 9 else 8 if digits <= 18 else 16 if digits <= 38 else 32
    raise UnknownType(kind)


@cache
def _parsed(kind: str) -> tuple[str, tuple[str, ...]]:
    """A type's name, and the types within it; a map is an array of pairs."""
    kind = _SHAPES.get(kind, kind)
    name = kind.partition("(")[0]
    match name:
        case "Nullable" | "Array" | "LowCardinality":
            return name, (kind[len(name) + 1 : -1],)
        case "Map":
            return "Array", (f"Tuple({kind[4:-1]})",)
        case "Nested":
            return "Array", (f"Tuple({kind[7:-1]})",)
        case "Tuple":
            return name, tuple(_split(each, " ")[-1] for each in _arguments(kind))
        case "SimpleAggregateFunction":
            return _parsed(_arguments(kind)[-1])
        case _:
            return name, ()


def _arguments(kind: str) -> list[str]:
    return [each.strip() for each in _split(kind.partition("(")[2][:-1], ",")]


def _split(text: str, sign: str) -> list[str]:
    """The parts of a text between signs that are neither quoted nor in brackets."""
    parts, start, depth, quote, escaped = [], 0, 0, "", False
    for at, letter in enumerate(text):
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'`\"":
            quote = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == sign and not depth:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]] if text else []
