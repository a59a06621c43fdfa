"""Our murmur2 against two clients' own, over keys of every length."""

from __future__ import annotations

import sys

import numpy  # noqa: F401 - loaded, as where much is published
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.base import Record, TopicPartition
from brokers.routing import Router, murmur2, murmur2_of, partition_of

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


@given(st.lists(st.binary(max_size=70)))
def test_many_keys_have_the_hashes_of_each(keys: list[bytes]) -> None:
    assert murmur2_of(keys) == {key: murmur2(key) for key in keys}


@pytest.mark.parametrize("in_vectors", [True, False])
def test_many_records_go_where_each_goes_alone(monkeypatch: pytest.MonkeyPatch, in_vectors: bool) -> None:
    if not in_vectors:  # as in the functions on AWS, whose packages have none
        monkeypatch.setitem(sys.modules, "numpy", None)
    records = [Record("pageviews" if n % 3 else "searches", b"key %d" % (n % 700), b"value") for n in range(2_000)]
    partitions = {"pageviews": 4, "searches": 3}.__getitem__
    routed = Router(partitions).route(records).logs
    assert sum(map(len, routed.values())) == len(records)
    for log, indexes in routed.items():
        for index in indexes:
            record = records[index]
            assert log == TopicPartition(record.topic, partition_of(record.key or b"", partitions(record.topic)))
            assert list(Router(partitions).route([record]).logs) == [log]
