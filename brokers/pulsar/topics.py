"""Pulsar's topics as the contract requires them: partitioned, kept for their retention, created explicitly.

By default Pulsar keeps no record that no subscription waits for, and deletes topics that nobody uses. Both policies are
changed for each topic and read back. The incarnation is a property of the topic, because Pulsar has no topic ids.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any
from urllib.parse import quote

from brokers.base import BrokerError, Position, Setting, TopicInfo, TopicPartition, Unreachable, Unsupported
from brokers.checks import check_topic, no_topic, other_count
from brokers.pulsar.admin import Admin
from brokers.pulsar.ledgers import LedgerReader
from brokers.pulsar.settings import PulsarSettings
from brokers.routing import TopicDescription

_INCARNATION = "footfall-incarnation"
_REMOVAL = "footfall-removal"  # a subscription
_FIRST = {"ledgerId": -1, "entryId": -1, "partitionIndex": -1, "batchIndex": -1}
_MINUTE_MS = 60_000
_KEPT_WHEN_IDLE = {
    "inactiveTopicDeleteMode": "delete_when_no_subscriptions",
    "maxInactiveDurationSeconds": 3600,
    "deleteWhileInactive": False,
}


class Topics:
    """The topics of one namespace."""

    def __init__(self, settings: PulsarSettings, admin: Admin) -> None:
        self._settings = settings
        self._admin = admin

    def path(self, topic: str) -> str:
        """Return the path of a topic at the admin service."""
        return f"/persistent/{self._settings.namespace}/{quote(topic)}"

    def partition_path(self, partition: TopicPartition) -> str:
        """Return the path of a partition at the admin service."""
        return self.path(f"{partition.topic}-partition-{partition.number}")

    def describe(self, topic: str) -> TopicDescription | None:
        """Return the topic, None if there is none; its incarnation is "" if this adapter did not create it."""
        answer = self._admin.get(f"{self.path(topic)}/partitions")
        found = answer.json() if answer.status == 200 else {}
        if not found.get("partitions"):
            return None
        return TopicDescription(found["partitions"], (found.get("properties") or {}).get(_INCARNATION, ""))

    def names(self) -> list[str]:
        """Return the names of all topics but Pulsar's own, sorted."""
        answer = self._admin.get(f"/persistent/{self._settings.namespace}/partitioned")
        if answer.status != 200:  # no such namespace, so nothing in it
            return []
        names = (name.rpartition("/")[2] for name in answer.json())
        return sorted(name for name in names if not name.startswith("__"))

    def info(self, topic: str) -> TopicInfo | None:
        """Return the topic's settings, None if there is none."""
        described = self.describe(topic)
        if described is None:  # deleted since it was listed
            return None
        retention = self._policy(topic, "retention?applied=true") or {}
        return TopicInfo(topic, described.partitions, _milliseconds(retention), self._copies(topic))

    def create(self, topic: str, partitions: int, retention_ms: int, replication: int) -> None:
        """See `brokers.base.Broker.create_topic`."""
        check_topic(topic, partitions, retention_ms, replication)
        if retention_ms > 0 and retention_ms % _MINUTE_MS:
            raise Unsupported(f"{self._settings.shown}: Pulsar keeps whole minutes, not {retention_ms} ms of {topic}")
        if self.describe(topic) is None:
            self._make(topic, partitions)
        found = self.describe(topic)
        if found is None:
            raise Unreachable(f"{self._settings.shown}: topic {topic} was created but does not appear: retry")
        if found.partitions != partitions:
            raise other_count(topic, found.partitions, partitions)
        if not found.incarnation:
            self._admin.expect("PUT", f"{self.path(topic)}/properties", {_INCARNATION: secrets.token_hex(8)})
        self._set_policy(topic, "inactiveTopicPolicies", _KEPT_WHEN_IDLE)
        self.set_retention(topic, retention_ms)
        self.deduplicate(topic, True)
        if replication > self._copies(topic):
            self._replicate(topic, replication)

    def delete(self, topic: str) -> None:
        """See `brokers.base.Broker.delete_topic`."""
        answer = self._admin.request("DELETE", f"{self.path(topic)}/partitions?force=true")
        if answer.status == 404:
            raise no_topic(topic, self._settings.shown)
        if answer.status >= 400:
            raise Unreachable(f"{self._settings.shown}: topic {topic} is not deleted ({answer.reason()}): retry")

    def settings(self, topic: str) -> dict[str, Setting]:
        """Return the policies that `create` sets besides partitions, retention and copies."""
        wanted = {"inactiveTopicPolicies": _KEPT_WHEN_IDLE, "deduplicationEnabled": True}
        return {
            name: Setting(json.dumps(self._policy(topic, name), sort_keys=True), json.dumps(value, sort_keys=True))
            for name, value in wanted.items()
        }

    def bookies(self) -> int:
        """Return the number of bookies, which store copies; 1 if this user may not know."""
        answer = self._admin.get("/bookies/all")
        return len(answer.json().get("bookies", ())) if answer.status == 200 else 1

    def set_retention(self, topic: str, retention_ms: int) -> None:
        """Set the retention: -1 keeps records for ever, 0 those that a subscription waits for."""
        minutes = retention_ms // _MINUTE_MS if retention_ms >= 0 else -1
        size = 0 if minutes == 0 else -1
        self._set_policy(topic, "retention", {"retentionTimeInMinutes": minutes, "retentionSizeInMB": size})

    def deduplicate(self, topic: str, wanted: bool) -> None:
        """Turn on or off that the topic drops what a producer sends twice."""
        self._set_policy(topic, "deduplicationEnabled", wanted)

    def seal(self, partition: TopicPartition) -> None:
        """Close the ledger that is written to, so that retention can remove it."""
        self._admin.expect("PUT", f"{self.partition_path(partition)}/unload")

    def remove_before(self, ledgers: LedgerReader, partition: TopicPartition, position: Position) -> None:
        """Remove the ledgers whose records all lie before `position`, as retention would do in time.

        Pulsar removes whole ledgers, once the topic's policies allow it and no subscription needs them. For a moment,
        nothing is retained and nothing deduplicated, while a subscription on each partition keeps what has to stay."""
        topic = partition.topic
        info = self.info(topic)
        if info is None:
            return
        ledger, entry, _ = position.order
        kept = {"ledgerId": ledger, "entryId": entry, "partitionIndex": -1, "batchIndex": -1}
        paths = [self.partition_path(TopicPartition(topic, number)) for number in range(info.partitions)]
        subscriptions = [f"{path}/subscription/{_REMOVAL}" for path in paths]
        try:
            for number, path in enumerate(subscriptions):
                self._admin.request("PUT", path, kept if number == partition.number else _FIRST)
            self.set_retention(topic, 0)
            self.deduplicate(topic, False)
            deadline = time.monotonic() + self._settings.timeout
            while any(number < ledger for number, _ in ledgers.view(partition).kept):
                if time.monotonic() > deadline:
                    raise Unreachable(f"{partition}: what lies before {position} is not removed: retry")
                self._admin.request("POST", f"{self.partition_path(partition)}/trim")
                time.sleep(0.05)
        finally:
            self.set_retention(topic, info.retention_ms)
            self.deduplicate(topic, True)
            for path in subscriptions:
                self._admin.request("DELETE", f"{path}?force=true")

    def _make(self, topic: str, partitions: int) -> None:
        made = {"partitions": partitions, "properties": {_INCARNATION: secrets.token_hex(8)}}
        content = "application/vnd.partitioned-topic-metadata+json"
        answer = self._admin.request("PUT", f"{self.path(topic)}/partitions", made, content=content)
        if answer.status == 404:
            self._make_namespace()
            answer = self._admin.request("PUT", f"{self.path(topic)}/partitions", made, content=content)
        if answer.status == 409 and self.describe(topic) is None:
            raise BrokerError(f"{self._settings.shown}: topic {topic} cannot be made: {answer.reason()}")
        if answer.status == 404:
            raise BrokerError(f"{self._settings.shown}: {answer.reason()}")

    def _make_namespace(self) -> None:
        """Create the namespace so that no client's late reconnect creates a deleted topic again."""
        path = f"/namespaces/{self._settings.namespace}"
        answer = self._admin.request("PUT", path)
        if answer.status == 404:
            tenant = self._settings.namespace.partition("/")[0]
            raise BrokerError(
                f"{self._settings.shown}: {answer.reason()}: create the tenant first (pulsar-admin tenants create"
                f" {tenant}), or name another one in the URL"
            )
        if answer.status < 300:
            self._admin.expect("POST", f"{path}/autoTopicCreation", {"allowAutoTopicCreation": False})

    def _set_policy(self, topic: str, policy: str, wanted: object) -> None:
        """Set a policy of the topic unless it is set, and read it back: it takes a moment to reach every broker."""
        if self._policy(topic, policy) == wanted:
            return
        self._admin.expect("POST", f"{self.path(topic)}/{policy}", wanted)
        deadline = time.monotonic() + self._settings.timeout
        while (found := self._policy(topic, policy)) != wanted:
            if time.monotonic() > deadline:
                raise Unsupported(
                    f"{self._settings.shown}: topic {topic} keeps {policy} {found} though set to {wanted}:"
                    " topic-level policies are needed (topicLevelPoliciesEnabled=true), ask who runs it"
                )
            time.sleep(0.02)

    def _replicate(self, topic: str, copies: int) -> None:
        bookies = self.bookies()
        if bookies < copies:
            raise Unsupported(f"{self._settings.shown} has {bookies} bookie(s): create {topic} with fewer copies")
        quorum = {"bookkeeperEnsemble": copies, "bookkeeperWriteQuorum": copies, "bookkeeperAckQuorum": copies // 2 + 1}
        self._set_policy(topic, "persistence", {**quorum, "managedLedgerMaxMarkDeleteRate": 0.0})

    def _copies(self, topic: str) -> int:
        found = self._policy(topic, "persistence?applied=true") or {}
        return int(found.get("bookkeeperWriteQuorum", 1))

    def _policy(self, topic: str, name: str) -> Any:
        answer = self._admin.get(f"{self.path(topic)}/{name}")
        return answer.json() if answer.status == 200 else None


def _milliseconds(retention: dict[str, Any]) -> int:
    minutes = int(retention.get("retentionTimeInMinutes", 0))
    return minutes * _MINUTE_MS if minutes >= 0 else -1
