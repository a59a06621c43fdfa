"""Making Pulsar forget now what retention would remove in time: for the conformance suite and for operators.

Pulsar removes whole ledgers, once the topic's policies allow it and no subscription needs them. So for a moment nothing
is retained and nothing deduplicated, while a subscription on each partition holds what has to stay.
"""

from __future__ import annotations

import time

from brokers.base import BrokerError, Position, Unreachable
from brokers.pulsar_admin import Admin
from brokers.pulsar_ledgers import LedgerReader
from brokers.pulsar_topics import Topics

_HOLD = "footfall-removal"
_FIRST = {"ledgerId": -1, "entryId": -1, "partitionIndex": -1, "batchIndex": -1}


def seal(admin: Admin, topics: Topics, topic: str, partition: int) -> None:
    """End the ledger that is written to, so that retention can remove what is in it."""
    answer = admin.ask("PUT", f"{topics.path(topic, partition)}/unload")
    if answer.status >= 300:
        raise BrokerError(f"{topic}[{partition}]: the ledger is not ended: {answer.reason()}")


def remove_before(
    admin: Admin, topics: Topics, ledgers: LedgerReader, topic: str, partition: int, position: Position, timeout: float
) -> None:
    """Drop the ledgers whose records all lie before `position`."""
    info = topics.info(topic)
    if info is None:
        return
    ledger, entry, _ = position.order
    kept = {"ledgerId": ledger, "entryId": entry, "partitionIndex": -1, "batchIndex": -1}
    holds = [f"{topics.path(topic, number)}/subscription/{_HOLD}" for number in range(info.partitions)]
    try:
        for number, path in enumerate(holds):
            admin.ask("PUT", path, kept if number == partition else _FIRST)
        topics.set_retention(topic, 0)
        topics.deduplicate(topic, False)
        deadline = time.monotonic() + timeout
        while any(held < ledger for held, _ in ledgers.view(topic, partition).held):
            if time.monotonic() > deadline:
                raise Unreachable(f"{topic}[{partition}]: what lies before {position} is not removed: retry")
            admin.ask("POST", f"{topics.path(topic, partition)}/trim")
            time.sleep(0.05)
    finally:
        topics.set_retention(topic, info.retention_ms)
        topics.deduplicate(topic, True)
        for path in holds:
            admin.ask("DELETE", f"{path}?force=true")
