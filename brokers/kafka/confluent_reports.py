"""librdkafka's delivery reports: what became of each record of a `send`, and who waits for them.

The reports for all threads arrive in one queue of the producer. The thread that waits first serves them for the others
too, so that a publish which is alone wakes no other thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError, Producer

from brokers.base import Record
from brokers.routing import Logs


class Flight:
    """The delivery reports that one `send` waits for; some may arrive before all its records are queued.

    A success without an offset does not count. It means that the broker has seen this sequence number. But on a topic
    that was created a moment ago, a broker may refuse the first batch (no leader yet), take the second one, and call
    the first one, sent again, a duplicate."""

    def __init__(self) -> None:
        self.expected = -1
        self._failed: list[tuple[KafkaError | None, Any]] = []
        self._reported: list[None] = []  # appending is atomic, whichever thread serves
        failed, one_more = self._failed.append, self._reported.append

        def report(error: KafkaError | None, message: Any) -> None:
            if error is not None or message.offset() is None:
                failed((error, message))
            one_more(None)

        # All records share one callback: binding each record's index to its own would double the cost of a record.
        self.report = report

    def landed(self) -> bool:
        """Return whether every report has arrived."""
        return len(self._reported) == self.expected

    def failures(self, records: Sequence[Record], logs: Logs) -> Iterator[tuple[int, KafkaError | None]]:
        """Yield index and error of each failed record, found by its content: of equal records any may be sent again."""
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
    """Lets one of the waiting threads serve the reports of all, so that most reports wake no other thread."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._served = False
        self._waiting = 0

    def wait(self, producer: Producer, flight: Flight, timeout: float) -> bool:
        """Return True once the flight has landed, or False after `timeout` seconds."""
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
                producer.flush(0.001)  # no other thread to share a request with: send without lingering
            while not flight.landed() and (left := deadline - time.monotonic()) > 0:
                producer.poll(min(left, 0.1))
                if self._waiting:
                    with self._turn:
                        self._turn.notify_all()
        finally:
            self._release()
        return flight.landed()

    def serve(self, producer: Producer, seconds: float) -> None:
        """Serve what has arrived unless a thread does so already: token renewals, reports that nobody waits for."""
        with self._turn:
            if self._served:
                return
            self._served = True
        try:
            producer.poll(seconds)
        finally:
            self._release()

    def _release(self) -> None:
        with self._turn:
            self._served = False
            self._turn.notify_all()
