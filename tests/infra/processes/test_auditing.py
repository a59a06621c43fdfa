"""The account that the owner keeps of the last day: an hour is looked at once it is over, and again if it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.processes import auditing, operation
from infra.processes.auditing import Auditor
from infra.processes.core import Core
from infra.settings import Settings
from infra.wiring import Parts
from pipeline.days import Building
from tests.pipeline.world import T0, event, record

HOUR_MS = 3_600_000
HOUR = T0 // HOUR_MS * HOUR_MS


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    with Parts(Settings.load({"FOOTFALL_DATA": str(tmp_path)})) as opened:
        opened.create_topics()
        yield opened


def arrive(parts: Parts, first: int, count: int, at: int) -> None:
    made = [record(event(number, at, number)) for number in range(first, first + count)]
    parts.broker.publish([each._replace(timestamp=at) for each in made])
    core = Core(parts)
    list(core.verbs["load"]())
    list(core.verbs["archive-flush"]())
    core.close()


def test_an_hour_is_looked_at_when_it_is_over_and_again_only_if_it_is_wrong(parts: Parts) -> None:
    now = HOUR + HOUR_MS // 2
    auditor = Auditor(parts, lambda: now)
    assert (auditor.unaccounted(), auditor.hours()) == (None, ())
    arrive(parts, 0, 40, HOUR + 1)
    auditor.step()
    assert (auditor.unaccounted(), auditor.hours()) == (0, ())
    now = HOUR + HOUR_MS + auditing._GRACE_MS
    auditor.step()
    (first,) = auditor.hours()
    assert (first.hour, first.accepted, first.stored, first.balanced) == (HOUR, 40, 40, True)

    arrive(parts, 100, 30, HOUR + HOUR_MS + 1)
    parts.warehouse.command(
        "ALTER TABLE event_rows DELETE WHERE id_lo BETWEEN 100 AND 109 SETTINGS mutations_sync = 2"
    )
    now += HOUR_MS
    auditor.step()
    last = auditor.hours()[0]
    assert (last.accepted, last.stored, last.balanced, auditor.unaccounted()) == (30, 20, False, 10)
    assert any("footfall.pageview[" in words for words in last.mismatches)
    list(Core(parts).verbs["replay"]("2026-09-21", "2026-09-21", None, "broker", False))
    auditor.step()
    assert auditor.unaccounted() == 10  # until the next hour is over
    now += HOUR_MS
    auditor.step()
    assert auditor.unaccounted() == 0
    now += 24 * HOUR_MS
    auditor.step()
    assert auditor.hours() == ()


def test_metrics_tell_what_is_not_where_it_should_be(parts: Parts) -> None:
    core = Core(parts)
    status = core.loader.status
    assert "footfall_unaccounted_events 7.0" in operation.metrics(status, Building(), 7)
    assert "unaccounted" not in operation.metrics(status, Building())
