"""Load on a broker that is about to fail, and the judgement afterwards.

A `Load` sends numbered events of several keys, each key's in order and each until it is acknowledged, and keeps what
was. `judge` compares that with what lies in the log, as a bare consumer reads it: every acknowledged event is there,
each key's come in order, and what is there twice goes by the same id.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.patience import patient

KEYS = 6
PACE = 0.01  # seconds a sender waits before the next, so that the brokers have most of a small machine
# Sends a key's events and returns how many of them, from the first, are acknowledged.
Send = Callable[[int, Sequence[int]], int]


class Event(NamedTuple):
    """A record of the log: the key's number, the event's, and the id by which the product knows it."""

    key: int
    number: int
    id: str


class Figures(NamedTuple):
    """What a failure did to who was sending, in events; `longest_gap` in seconds without an acknowledgement."""

    acked: int
    refused: int
    stored: int
    duplicates: int
    longest_gap: float

    def __str__(self) -> str:
        return (
            f"{self.acked:,} acknowledged, {self.refused:,} times refused, {self.stored:,} stored,"
            f" {self.duplicates:,} of them twice, {self.longest_gap:.1f} s the longest without an acknowledgement"
        )


class Load:
    """Starts with `with`; a sender's own error comes out at its end."""

    def __init__(self, send: Send, batch: int = 1, keys: int = KEYS) -> None:
        self.refused = 0
        self._send = send
        self._batch = batch
        self._acked = [0] * keys  # each key's events up to this number
        self._last_ack = time.monotonic()
        self._longest_gap = 0.0
        self._errors: list[BaseException] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(key,), daemon=True) for key in range(keys)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Back when what was on its way is settled; may be repeated."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    @property
    def acked(self) -> int:
        return sum(self._acked)

    def more(self, events: int, seconds: float = patient(60)) -> None:
        """Back when so many more are acknowledged."""
        self._until(lambda at=self.acked: self.acked >= at + events, f"{events} more are acknowledged", seconds)

    def refusals(self, times: int, seconds: float = patient(60)) -> None:
        """Back when so many more requests are refused."""
        self._until(lambda at=self.refused: self.refused >= at + times, f"{times} more are refused", seconds)

    def judge(self, log: Iterable[Event]) -> Figures:
        """Hold what was acknowledged against what is stored; call it after the end."""
        numbers: list[list[int]] = [[] for _ in self._acked]
        ids: set[str] = set()
        stored = 0
        for key, number, name in log:
            stored += 1
            ids.add(name)
            numbers[key].append(number)
        duplicates = 0
        for key, found in enumerate(numbers):
            times = Counter(found)
            lost = [number for number in range(self._acked[key]) if number not in times]
            assert not lost, f"key {key}: {len(lost)} acknowledged events are not in the log: {lost[:20]}"
            first = list(times)  # in the order of their first copies
            late = [(a, b) for a, b in itertools.pairwise(first) if a > b]
            assert not late, f"key {key}: out of order {late[:20]}"
            duplicates += len(found) - len(times)
        assert len(ids) == stored - duplicates, "a copy has another id: it would be counted twice"
        return Figures(self.acked, self.refused, stored, duplicates, self._longest_gap)

    def _until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._errors:
                raise self._errors[0]
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
            time.sleep(0.02)

    def _run(self, key: int) -> None:
        try:
            waiting: list[int] = []
            while not self._stop.is_set() or waiting:
                if not waiting:
                    waiting = list(range(self._acked[key], self._acked[key] + self._batch))
                if count := self._send(key, waiting):
                    del waiting[:count]
                    self._note(key, count)
                else:
                    with self._lock:
                        self.refused += 1
                if self._stop.wait(PACE if count else 5 * PACE) and not count:
                    return
        except BaseException as error:
            self._errors.append(error)

    def _note(self, key: int, count: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._acked[key] += count
            self._longest_gap = max(self._longest_gap, now - self._last_ack)
            self._last_ack = now


def read_kafka(
    servers: str, topic: str, decode: Callable[[Any], Event | None], options: Mapping[str, str] | None = None
) -> list[Event]:
    """The whole topic, partition after partition, by a consumer of its own with librdkafka's `options`."""
    bare = {"bootstrap.servers": servers, "group.id": "judge", "enable.auto.commit": False}
    consumer = Consumer({**bare, "auto.offset.reset": "error", **(options or {})})
    try:
        found: list[Event] = []
        for partition in consumer.list_topics(topic, timeout=patient(30)).topics[topic].partitions:
            where = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(where, timeout=patient(30))
            consumer.assign([TopicPartition(topic, partition, low)])
            deadline = time.monotonic() + patient(60)
            while low < high:
                assert time.monotonic() < deadline, f"{topic}[{partition}] ends at {low}, not {high}"
                for message in consumer.consume(10_000, 0.2):
                    if message.error():
                        raise KafkaException(message.error())
                    low = message.offset() + 1
                    if (event := decode(message)) is not None:
                        found.append(event)
        return found
    finally:
        consumer.close()
