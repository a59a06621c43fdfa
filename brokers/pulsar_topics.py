"""Pulsar's topics as the contract wants them: partitioned, kept for their retention, made explicitly.

By its defaults Pulsar keeps nothing that no subscription waits for, and deletes topics that nobody uses: both are
set otherwise on each topic, and read back. An incarnation is a property of the topic, since Pulsar has no topic ids.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, NamedTuple
from urllib.parse import quote

from brokers.base import BrokerError, NoSuchTopic, Setting, TopicInfo, Unreachable, Unsupported
from brokers.options import check_topic, other_count
from brokers.pulsar_admin import Admin
from brokers.pulsar_settings import PulsarSettings

INCARNATION = "footfall-incarnation"
_MINUTE_MS = 60_000
_KEPT_WHEN_IDLE = {
    "inactiveTopicDeleteMode": "delete_when_no_subscriptions",
    "maxInactiveDurationSeconds": 3600,
    "deleteWhileInactive": False,
}


class Described(NamedTuple):
    """A topic's partition count and incarnation, "" for one that this adapter did not make."""

    partitions: int
    incarnation: str


class Topics:
    """Topics of one namespace, by the admin service."""

    def __init__(self, settings: PulsarSettings, admin: Admin) -> None:
        self._settings = settings
        self._admin = admin

    def path(self, topic: str, partition: int | None = None) -> str:
        name = topic if partition is None else f"{topic}-partition-{partition}"
        return f"/persistent/{self._settings.namespace}/{quote(name)}"

    def describe(self, topic: str) -> Described | None:
        answer = self._admin.get(f"{self.path(topic)}/partitions")
        found = answer.json() if answer.status == 200 else {}
        if not found.get("partitions"):
            return None
        return Described(found["partitions"], (found.get("properties") or {}).get(INCARNATION, ""))

    def names(self) -> list[str]:
        answer = self._admin.get(f"/persistent/{self._settings.namespace}/partitioned")
        if answer.status != 200:  # no such namespace, so nothing in it
            return []
        names = (name.rpartition("/")[2] for name in answer.json())
        return sorted(name for name in names if not name.startswith("__"))

    def info(self, topic: str) -> TopicInfo | None:
        described = self.describe(topic)
        if described is None:  # deleted since it was listed
            return None
        retention = self._policy(topic, "retention?applied=true") or {}
        return TopicInfo(topic, described.partitions, _milliseconds(retention), self._copies(topic))

    def create(self, topic: str, partitions: int, retention_ms: int, replication: int) -> None:
        check_topic(topic, partitions, retention_ms, replication)
        if retention_ms > 0 and retention_ms % _MINUTE_MS:
            raise Unsupported(f"{self._settings.shown}: Pulsar keeps whole minutes, not {retention_ms} ms of {topic}")
        if self.describe(topic) is None:
            self._make(topic, partitions)
        known = self.describe(topic)
        if known is None:
            raise Unreachable(f"{self._settings.shown}: topic {topic} was created but does not appear: retry")
        if known.partitions != partitions:
            raise other_count(topic, known.partitions, partitions)
        if not known.incarnation:
            self._expect("PUT", f"{self.path(topic)}/properties", {INCARNATION: secrets.token_hex(8)})
        self._hold(topic, "inactiveTopicPolicies", _KEPT_WHEN_IDLE)
        self.set_retention(topic, retention_ms)
        self.deduplicate(topic, True)
        if replication > self._copies(topic):
            self._replicate(topic, replication)

    def delete(self, topic: str) -> None:
        answer = self._admin.ask("DELETE", f"{self.path(topic)}/partitions?force=true")
        if answer.status == 404:
            raise NoSuchTopic(f"topic {topic} does not exist on {self._settings.shown}: create it first")
        if answer.status >= 400:
            raise Unreachable(f"{self._settings.shown}: topic {topic} is not deleted ({answer.reason()}): retry")

    def settings(self, topic: str) -> dict[str, Setting]:
        """What `create` holds besides partitions, retention and copies."""
        wanted = {"inactiveTopicPolicies": _KEPT_WHEN_IDLE, "deduplicationEnabled": True}
        return {
            name: Setting(json.dumps(self._policy(topic, name), sort_keys=True), json.dumps(value, sort_keys=True))
            for name, value in wanted.items()
        }

    def bookies(self) -> int:
        """How many there are to lay copies on; 1 for who may not ask."""
        answer = self._admin.get("/bookies/all")
        return len(answer.json().get("bookies", ())) if answer.status == 200 else 1

    def set_retention(self, topic: str, retention_ms: int) -> None:
        """-1 keeps for ever, 0 only what a subscription waits for."""
        minutes = retention_ms // _MINUTE_MS if retention_ms >= 0 else -1
        size = 0 if minutes == 0 else -1
        self._hold(topic, "retention", {"retentionTimeInMinutes": minutes, "retentionSizeInMB": size})

    def deduplicate(self, topic: str, wanted: bool) -> None:
        self._hold(topic, "deduplicationEnabled", wanted)

    def _make(self, topic: str, partitions: int) -> None:
        made = {"partitions": partitions, "properties": {INCARNATION: secrets.token_hex(8)}}
        content = "application/vnd.partitioned-topic-metadata+json"
        answer = self._admin.ask("PUT", f"{self.path(topic)}/partitions", made, content=content)
        if answer.status == 404:
            self._make_namespace()
            answer = self._admin.ask("PUT", f"{self.path(topic)}/partitions", made, content=content)
        if answer.status == 409 and self.describe(topic) is None:
            raise BrokerError(f"{self._settings.shown}: topic {topic} cannot be made: {answer.reason()}")
        if answer.status == 404:
            raise BrokerError(f"{self._settings.shown}: {answer.reason()}")

    def _make_namespace(self) -> None:
        """One of our own: there, nobody's late reconnect makes a deleted topic again."""
        path = f"/namespaces/{self._settings.namespace}"
        answer = self._admin.ask("PUT", path)
        if answer.status == 404:
            tenant = self._settings.namespace.partition("/")[0]
            raise BrokerError(
                f"{self._settings.shown}: {answer.reason()}: create the tenant first (pulsar-admin tenants create"
                f" {tenant}), or name another one in the URL"
            )
        if answer.status < 300:
            self._expect("POST", f"{path}/autoTopicCreation", {"allowAutoTopicCreation": False})

    def _hold(self, topic: str, policy: str, wanted: object) -> None:
        """Set a policy of the topic, unless it is so, and read it back: it takes a moment to be everywhere."""
        if self._policy(topic, policy) == wanted:
            return
        self._expect("POST", f"{self.path(topic)}/{policy}", wanted)
        deadline = time.monotonic() + self._settings.timeout
        while (held := self._policy(topic, policy)) != wanted:
            if time.monotonic() > deadline:
                raise Unsupported(
                    f"{self._settings.shown}: topic {topic} keeps {policy} {held} though set to {wanted}:"
                    " topic-level policies are needed (topicLevelPoliciesEnabled=true), ask who runs it"
                )
            time.sleep(0.02)

    def _replicate(self, topic: str, copies: int) -> None:
        bookies = self.bookies()
        if bookies < copies:
            raise Unsupported(f"{self._settings.shown} has {bookies} bookie(s): create {topic} with fewer copies")
        quorum = {"bookkeeperEnsemble": copies, "bookkeeperWriteQuorum": copies, "bookkeeperAckQuorum": copies // 2 + 1}
        self._hold(topic, "persistence", {**quorum, "managedLedgerMaxMarkDeleteRate": 0.0})

    def _copies(self, topic: str) -> int:
        found = self._policy(topic, "persistence?applied=true") or {}
        return int(found.get("bookkeeperWriteQuorum", 1))

    def _policy(self, topic: str, name: str) -> Any:
        answer = self._admin.get(f"{self.path(topic)}/{name}")
        return answer.json() if answer.status == 200 else None

    def _expect(self, method: str, path: str, body: object = None) -> None:
        answer = self._admin.ask(method, path, body)
        if answer.status >= 300:
            raise BrokerError(f"{self._settings.shown}: {method} {path}: {answer.reason()}")


def _milliseconds(retention: dict[str, Any]) -> int:
    minutes = int(retention.get("retentionTimeInMinutes", 0))
    return minutes * _MINUTE_MS if minutes >= 0 else -1
