"""librdkafka's delivery reports: what became of each record of a `send`, and who waits for them.

The reports of all threads come in one queue of the producer. Whoever waits first serves them for the others too, so
that a publish alone wakes no other thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError, Producer

from brokers.base import Record
from brokers.kafka_client import Logs


class Flight:
    """The delivery reports that one `send` waits for; perhaps some come before all is queued.

    A success without an offset is none. It stands for "the broker has seen this sequence number". On a topic made a
    moment ago, though, a broker that refuses the first batch (no leader yet) and takes the second one calls the first,
    sent again, a duplicate."""

    def __init__(self) -> None:
        self.expected = -1
        self._failed: list[tuple[KafkaError | None, Any]] = []
        self._reported: list[None] = []  # appending is atomic, whichever thread serves
        failed, one_more = self._failed.append, self._reported.append

        def report(error: KafkaError | None, message: Any) -> None:
            if error is not None or message.offset() is None:
                failed((error, message))
            one_more(None)

        # One for all: to bind each record's index to its own takes as long as all else that is done for it.
        self.report = report

    def landed(self) -> bool:
        return len(self._reported) == self.expected

    def failures(self, records: Sequence[Record], logs: Logs) -> Iterator[tuple[int, KafkaError | None]]:
        """Index and error of each, found by content: of two records that are equal either may be sent again."""
        by_content: dict[object, list[int]] = {}
        if self._failed:
            for log, indexes in logs.items():
                for index in indexes:
                    _, key, value, *_ = records[index]
                    by_content.setdefault((*log, key or None, value or None), []).append(index)
        for error, message in self._failed:
            content = (message.topic(), message.partition(), message.key() or None, message.value() or None)
            yield by_content[content].pop(0), error


class Reports:
    """Of the threads that wait for reports, one serves those of all: no other thread has to be woken for most."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._served = False
        self._waiting = 0

    def wait(self, producer: Producer, flight: Flight, timeout: float) -> bool:
        """Back when the flight has landed, False when `timeout` seconds are over."""
        deadline = time.monotonic() + timeout
        with self._turn:
            self._waiting += 1
            try:
                while self._served and not flight.landed():
                    if not self._turn.wait(deadline - time.monotonic()):
                        return flight.landed()
            finally:
                self._waiting -= 1
            if flight.landed():
                return True
            self._served = True
        try:
            if not self._waiting:
                producer.flush(0.001)  # nobody to share a request with: leave without lingering
            while not flight.landed() and (left := deadline - time.monotonic()) > 0:
                producer.poll(min(left, 0.1))
                if self._waiting:
                    with self._turn:
                        self._turn.notify_all()
        finally:
            self.release()
        return flight.landed()

    def serve(self, producer: Producer, seconds: float) -> None:
        """Serve what there is, unless somebody does: a token to renew, reports that nobody waits for any more."""
        with self._turn:
            if self._served:
                return
            self._served = True
        try:
            producer.poll(seconds)
        finally:
            self.release()

    def release(self) -> None:
        with self._turn:
            self._served = False
            self._turn.notify_all()
