"""What the core does beside its loader: it archives what is committed, the sooner the more there is; and what it says.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.processes import core
from infra.processes.core import Core
from infra.settings import Settings
from infra.wiring import Parts
from pipeline.checkpoint import Checkpoint
from pipeline.live import Loader
from stores.base import StoreUnreachable
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


def test_a_checkpoint_that_cannot_note_what_is_built_is_said_to_be_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Loader.open

    def away(loader: Loader) -> Checkpoint:
        if threading.current_thread().name == "days":
            raise StoreUnreachable("the store is away")
        return real(loader)

    monkeypatch.setattr(Loader, "open", away)
    monkeypatch.setattr(core, "_LOOK_EVERY", 0.1)
    with Parts(Settings.load({"FOOTFALL_DATA": str(tmp_path)})) as parts:
        running = Core(parts)
        running.day_builder = SimpleNamespace(  # type: ignore[assignment]
            step=lambda: 0.1, status=SimpleNamespace(waiting=0, built=1, broken=0)
        )
        running.start()
        try:
            until(lambda: "the store is away" in caplog.text, "it is said")
        finally:
            running.stop()
            running.close()
    assert "The checkpoint does not note which days are built" in caplog.text
    assert "day tables are not up to date" not in caplog.text
