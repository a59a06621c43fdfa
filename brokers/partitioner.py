"""Which partition a key lies on: murmur2 as Kafka's Java client computes it, on every broker.

All records of a visitor must share one partition number across topics *and brokers*, so that moving to
another broker moves no visitor. Clients disagree by default (librdkafka's own default hash agrees with Java's
on a quarter of the keys only), so adapters pass the partition explicitly and never let a client choose.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


@lru_cache(maxsize=512)
def _words(count: int) -> Struct:
    return Struct(f"<{count}I")


def murmur2(data: bytes) -> int:
    """The 32-bit hash, unsigned."""
    length = len(data)
    count = length >> 2
    h = _SEED ^ length
    for k in _words(count).unpack_from(data):
        k = k * _M & _MASK
        h = (h * _M ^ (k ^ k >> 24) * _M) & _MASK
    tail = length & 3
    if tail:
        h = (h ^ int.from_bytes(data[-tail:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


# The cache serves the visitors active in the last seconds: a hit costs a tenth of the hash.
@lru_cache(maxsize=16_384)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition number of `key` in a topic of `partitions`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
