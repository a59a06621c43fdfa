"""The topics as they should be against those that a broker has: what would be made, changed, or had better not be.

Nothing here takes anything away unasked. A shorter retention deletes events, so it has to be allowed by name; the
partition count of a topic that is there is never changed, because every visitor's key would lie elsewhere from then
on; and copies of a topic that is there are moved by the broker's own tools, whose operator chooses the hour.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from activity.definitions import DAY_MS, FUTURE_MS, MARGIN_AFTER_MS, MARGIN_BEFORE_MS
from activity.event import ALL_TOPICS, DEFAULT_PARTITIONS
from brokers.base import Administered, Broker, TopicInfo

# What the replay of a day reads: below this, only the archive can replay a day that is over.
REPLAY_MS = MARGIN_BEFORE_MS + DAY_MS + MARGIN_AFTER_MS + FUTURE_MS
COPIES = 3


class TopicSpec(NamedTuple):
    """Settings for all topics. None keeps an existing topic's setting and means the default for a new one."""

    partitions: int | None = None
    retention_ms: int | None = None  # -1 keeps for ever
    replication: int | None = None


class Change(NamedTuple):
    """One difference. `how` is "create", "change", "shorten" (deletes events) or "refuse" (`note` says what to do)."""

    topic: str
    what: str
    held: str
    wanted: str
    how: str
    note: str = ""


def copies(broker: Broker) -> int:
    """How many copies a topic should have: three, or as many as there are servers to hold them."""
    return min(COPIES, broker.describe().brokers) if isinstance(broker, Administered) else 1


def plan(broker: Broker, spec: TopicSpec) -> list[Change]:
    """The differences, in the order of the topics; none when all is as it should be."""
    there = broker.topics()
    target = _target(broker, spec, there)
    changes: list[Change] = []
    for name in ALL_TOPICS:
        held = there.get(name)
        if held is None:
            made = f"{target.partitions} partitions, kept {kept(target.retention_ms)}, {copied(target.replication)}"
            changes.append(Change(name, "topic", "missing", made, "create"))
        else:
            changes += _differences(broker, held, target, spec)
    return changes


def apply(broker: Broker, spec: TopicSpec, changes: list[Change]) -> None:
    """Make the changes, but for those that are refused."""
    there = broker.topics()
    target = _target(broker, spec, there)
    retained = {change.topic for change in changes if change.what == "retention"}
    for name in dict.fromkeys(change.topic for change in changes if change.how != "refuse"):
        held = there.get(name)
        if held is None:
            broker.create_topic(name, target.partitions, target.retention_ms, target.replication)
        else:
            wanted = spec.retention_ms if name in retained else None
            retention = held.retention_ms if wanted is None else wanted
            broker.create_topic(name, held.partitions, retention, held.replication)


def _target(broker: Broker, spec: TopicSpec, there: dict[str, TopicInfo]) -> TopicInfo:
    ours = [there[name] for name in ALL_TOPICS if name in there]
    usual = Counter(info.partitions for info in ours).most_common(1)
    return TopicInfo(
        "",
        spec.partitions or (usual[0][0] if usual else DEFAULT_PARTITIONS),
        spec.retention_ms or (ours[0].retention_ms if ours else -1),
        spec.replication or copies(broker),
    )


def _differences(broker: Broker, held: TopicInfo, target: TopicInfo, spec: TopicSpec) -> list[Change]:
    name, found = held.name, []
    if held.partitions != target.partitions:
        note = (
            "the number is fixed for a topic's life: with another one, visitors' keys would lie elsewhere. For another"
            " number, begin with new topics in another cluster or namespace and a new data folder;"
            " `footfall broker move` keeps the number"
        )
        found.append(Change(name, "partitions", str(held.partitions), str(target.partitions), "refuse", note))
    if spec.retention_ms is not None and held.retention_ms != spec.retention_ms:
        longer = spec.retention_ms < 0 or 0 <= held.retention_ms < spec.retention_ms
        note = "" if longer else "deletes the events that are older: allow it by --delete-older"
        how = "change" if longer else "shorten"
        found.append(Change(name, "retention", kept(held.retention_ms), kept(spec.retention_ms), how, note))
    if held.replication < target.replication:
        note = "the broker's own tools move copies of a topic that is there (Kafka: kafka-reassign-partitions.sh)"
        found.append(Change(name, "copies", str(held.replication), str(target.replication), "refuse", note))
    if isinstance(broker, Administered):
        for key, setting in broker.topic_settings(name, held.replication).items():
            if setting.held != setting.wanted:
                found.append(Change(name, key, setting.held, setting.wanted, "change"))
    return found


def kept(retention_ms: int) -> str:
    return "for ever" if retention_ms < 0 else f"{retention_ms / DAY_MS:.3g} days"


def copied(replication: int) -> str:
    return "1 copy" if replication == 1 else f"{replication} copies"
