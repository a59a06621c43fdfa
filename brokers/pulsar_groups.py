"""A group's position as a Pulsar subscription: seen by Pulsar's own tools, and holding back retention.

The subscription stands behind the last entry that was read in full; the exact position, down to the record, is one of
the subscription's properties.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from brokers.base import BrokerError, Position
from brokers.pulsar_admin import Admin
from brokers.pulsar_cursors import Log
from brokers.pulsar_ledgers import LedgerReader, Ledgers

_POSITION = "footfall-position"


class Groups:
    """`path` names a partition at the admin service."""

    def __init__(self, admin: Admin, path: Callable[[str, int | None], str], ledgers: LedgerReader, shown: str) -> None:
        self._admin = admin
        self._path = path
        self._ledgers = ledgers
        self._shown = shown

    def remember(self, group: str, log: Log, view: Ledgers, position: Position) -> None:
        path = self._subscription(group, log.topic, log.partition)
        if group not in view.subscriptions:
            self._expect("PUT", path, _message_id(position, excluded=False))
        records = self._ledgers.records(log.topic, log.partition, position.order[0], position.order[1])
        whole = position.order[2] + 1 >= records
        self._expect("POST", f"{path}/resetcursor", _message_id(position, excluded=whole))
        self._expect("PUT", f"{path}/properties", {_POSITION: str(position)})

    def recall(self, group: str, topic: str, partition: int) -> Position | None:
        answer = self._admin.get(f"{self._subscription(group, topic, partition)}/properties")
        text = (answer.json() or {}).get(_POSITION) if answer.status == 200 else None
        return Position.parse(text) if text else None

    def vouches(self, log: Log, view: Ledgers, after: Position) -> bool:
        """Does a group's subscription, which keeps what follows it, stand at `after` or before?"""
        remembered = (self.recall(group, log.topic, log.partition) for group in view.subscriptions)
        return any(p is not None and p.incarnation == log.incarnation and p <= after for p in remembered)

    def _subscription(self, group: str, topic: str, partition: int) -> str:
        return f"{self._path(topic, partition)}/subscription/{quote(group, safe='')}"

    def _expect(self, method: str, path: str, body: object) -> None:
        answer = self._admin.ask(method, path, body)
        if answer.status >= 300 and not (method == "PUT" and answer.status == 409):
            raise BrokerError(f"{self._shown}: {method} {path}: {answer.reason()}")


def _message_id(position: Position, *, excluded: bool) -> dict[str, object]:
    ledger, entry, _ = position.order
    return {"ledgerId": ledger, "entryId": entry, "partitionIndex": -1, "batchIndex": -1, "excluded": excluded}
