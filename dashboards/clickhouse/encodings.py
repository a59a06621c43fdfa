"""How clients of ClickHouse have bodies compressed: by HTTP's `Content-Encoding`, or in blocks of ClickHouse's own."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable

import lz4.block
import lz4.frame
import zstandard
from clickhouse_cityhash.cityhash import CityHash128
from werkzeug.datastructures import Accept
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

_BLOCK = 1 << 20  # bytes of a block before it is compressed
_LZ4 = 0x82
_LEVEL = 3

# The encodings of answers, the best one first.
_COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstandard.ZstdCompressor(_LEVEL).compress(body),
    "lz4": lambda body: bytes(lz4.frame.compress(body)),
    "gzip": lambda body: gzip.compress(body, _LEVEL),
    "deflate": lambda body: zlib.compress(body, _LEVEL),
}


def encoded(body: bytes, accepted: Accept) -> tuple[bytes, str]:
    """A body in an encoding that its reader accepts, and the encoding; "" if there is none that we know."""
    for name, compressed in _COMPRESSED.items():
        if accepted.quality(name) > 0:
            return compressed(body), name
    return body, ""


def decoded(body: bytes, encoding: str, most: int) -> bytes:
    """The body of a request with this `Content-Encoding`, of at most so many bytes. Raises what HTTP calls it."""
    try:
        match encoding.strip().lower():
            case "" | "identity":
                found = body
            case "gzip":
                found = zlib.decompressobj(wbits=31).decompress(body, most + 1)
            case "deflate":
                found = zlib.decompressobj().decompress(body, most + 1)
            case "zstd":
                found = zstandard.ZstdDecompressor().stream_reader(body).read(most + 1)
            case "lz4":
                found = bytes(lz4.frame.LZ4FrameDecompressor().decompress(body, most + 1))
            case _:
                raise UnsupportedMediaType("a body may be encoded as gzip, deflate, zstd or lz4")
    except (zlib.error, zstandard.ZstdError, RuntimeError) as error:
        raise BadRequest(f"the body is not {encoding}: {error}") from error
    if len(found) > most:
        raise RequestEntityTooLarge(f"a body may have {most} bytes here: send less")
    return found


def in_blocks(body: bytes) -> bytes:
    """The body in ClickHouse's compressed blocks, each of which begins with a checksum of the rest."""
    blocks = []
    for at in range(0, len(body), _BLOCK):
        piece = body[at : at + _BLOCK]
        compressed = lz4.block.compress(piece, store_size=False)
        block = struct.pack("<BII", _LZ4, len(compressed) + 9, len(piece)) + compressed
        checksum = CityHash128(block)
        blocks.append(struct.pack("<QQ", checksum >> 64, checksum & (2**64 - 1)) + block)
    return b"".join(blocks)
