"""What the core does beside its loader: it archives what is committed, the sooner the more there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.processes import core
from infra.processes.core import Core
from infra.settings import Settings
from infra.wiring import Parts
from tests.e2e.harness import until
from tests.pipeline.world import event, record


def test_the_archive_of_a_busy_site_does_not_wait_for_its_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "_FLUSH_AT", 50)
    monkeypatch.setattr(core, "_FLUSH_EVERY", 3_600.0)
    monkeypatch.setattr(core, "_LOOK_EVERY", 0.1)
    with Parts(Settings.load({"FOOTFALL_DATA": str(tmp_path)})) as parts:
        parts.create_topics()
        running = Core(parts)
        running.start()
        try:
            for first in (0, 50):
                parts.broker.publish([record(event(number, visitor=number)) for number in range(first, first + 50)])

                def archived(count: int = first + 50) -> bool:
                    return sum(entry.rows for entry in parts.archive.manifest(0, 2**41).entries) == count

                until(archived, "the events are archived")
        finally:
            running.stop()
            running.close()
