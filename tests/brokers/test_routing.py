"""Our murmur2 against two clients' own, over keys of every length."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.routing import murmur2, partition_of

default = pytest.importorskip("kafka.partitioner.default")

# As published with Kafka's own test of its hash.
PUBLISHED = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}


def test_values_published_with_kafka() -> None:
    for key, signed in PUBLISHED.items():
        assert murmur2(key) == signed & 0xFFFFFFFF


@settings(deadline=None)  # the first call fills a cache
@given(st.binary(max_size=70))
def test_equals_kafka_pythons(key: bytes) -> None:
    assert murmur2(key) == default.murmur2(key) & 0xFFFFFFFF
    assert partition_of(key, 7) == (default.murmur2(key) & 0x7FFFFFFF) % 7
