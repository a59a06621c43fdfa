"""The load of `tests.load`, published by an adapter itself: each key's numbers are its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brokers.base import Broker, BrokerError, Record, Unsent
from tests.load import Event


class Publishing:
    """Callable as a `tests.load.Send`. Several may share a broker."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self.reasons: set[str] = set()  # in what words publishing failed

    def __call__(self, key: int, numbers: Sequence[int]) -> int:
        records = [Record(self._topic, b"key-%d" % key, b"%d" % number) for number in numbers]
        try:
            self._broker.publish(records)
        except Unsent as error:
            self.reasons.add(str(error))
            return min(error.indexes)
        except BrokerError as error:
            self.reasons.add(str(error))
            return 0
        return len(records)

    @staticmethod
    def decode(message: Any) -> Event:
        """A Kafka message of the topic."""
        key = int(message.key().removeprefix(b"key-"))
        return Event(key, int(message.value()), f"{key}-{message.value().decode()}")
