"""Records erased from a log by what they hold, and what a broker that cannot erase keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

import brokers
from activity.definitions import HOUR_MS
from activity.erasure import Erasures, Expiry, Tombstone, hashed_user
from activity.event import ALL_TOPICS, DEAD_LETTER_TOPIC, SESSION_TOPIC, TOPICS
from brokers.base import Record
from pipeline.raw_records import erase_records, expire_records
from tests.pipeline.world import T0, World, event, record

SITE = "a.example"
HASH = hashed_user(SITE, 'an"n')
ERASURES = Erasures((Tombstone(1, SITE, T0 + 10, f"{7:016x}"), Tombstone(1, SITE, T0 + 10, user=HASH)))


def test_what_a_tombstone_covers_goes_and_all_else_stays(world: World) -> None:
    gone = [event(1, T0), event(2, T0 + 9, visitor=8, user='an"n')]
    stays = [event(3, T0 + 10), event(4, visitor=8), event(5, site="b.example"), event(6, visitor=9, user="a")]
    world.publish(*gone, *stays)
    his = msgspec.json.encode({"reason": "malformed", "bytes": "", "site": SITE, "visitor": f"{7:016x}"})
    hers = msgspec.json.encode({"reason": "malformed", "bytes": "", "site": SITE, "visitor": f"{8:016x}"})
    world.broker.publish([Record(DEAD_LETTER_TOPIC, None, his), Record(DEAD_LETTER_TOPIC, None, hers)])
    # What was spoiled on its way is of him by its key.
    world.broker.publish([record(event(7, T0))._replace(value=b"{spoiled")])
    counted: dict[str, Mapping[int, int]] = {}

    def count(hours: Mapping[int, int], block: str) -> None:
        counted[block] = hours

    needles = [f"{7:016x}", msgspec.json.encode('an"n').decode()]
    assert erase_records(world.broker, SITE, ERASURES, 'an"n', needles, T0, count) == (4, [])
    left = sorted(value for value in world.raw() if value)
    assert left == sorted(record(each).value or b"" for each in stays)
    assert erase_records(world.broker, SITE, ERASURES, 'an"n', needles, T0, count) == (0, [])
    assert sum((Counter(each) for each in counted.values()), Counter()) == {T0 // HOUR_MS * HOUR_MS: 2}


@pytest.mark.parametrize(("retention_ms", "until"), [(86_400_000, "2026-09-22T14:13:20+00:00"), (-1, None)])
def test_a_broker_that_cannot_erase_keeps_records_until_its_retention_is_over(
    tmp_path: Path, retention_ms: int, until: str | None
) -> None:
    broker = brokers.connect(f"memory://{tmp_path.name}")
    for topic in ALL_TOPICS:
        broker.create_topic(topic, 4, retention_ms)
    broker.publish([record(event(1, T0))])
    erased, remains = erase_records(broker, SITE, ERASURES, "", [], T0, lambda _hours, _block: None)
    assert erased == 0
    assert [each["where"].partition(" ")[0] for each in remains] == [*TOPICS, SESSION_TOPIC, DEAD_LETTER_TOPIC]
    assert {each.get("until") for each in remains} == {until}
    assert expire_records(broker, Expiry(1, SITE, T0 + 1), T0, lambda _hours, _block: None) == (0, remains)
    broker.close()
