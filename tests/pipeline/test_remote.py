"""The live pipeline with workers in other processes: the same rows, whatever dies or is done twice."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import cast

import pytest

from infra.errors import Failed
from infra.processes import jobs
from infra.wiring import Parts
from pipeline import live, portable
from pipeline.portable import JobFailed, ProcessExecutor
from pipeline.runner import RemoteRunner
from tests.patience import patient
from tests.pipeline import test_live, test_replay, travelling
from tests.pipeline.test_live import assert_rollups_equal_a_group_by, expected, history, same
from tests.pipeline.world import World
from tests.servers.process import free_port


def assert_all_is_stored_once(world: World) -> None:
    world.loader.drain()
    stored = len({e.id for e in history(1)})
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)
    assert world.count("SELECT count() FROM events") == world.loader.checkpoint().events == stored
    assert [path for path in (world.folder / "exchange").rglob("*") if path.is_file()] == []


def test_micro_batches_on_workers_make_the_sessions_of_one_pass(wide_world: World) -> None:
    events = history(1)
    for i in range(0, len(events), 150):
        wide_world.publish(*events[i : i + 150])
        wide_world.loader.drain()
    wide_world.publish(*events)
    assert_all_is_stored_once(wide_world)


@pytest.mark.parametrize(
    "test",
    [
        test_live.test_every_step_of_a_live_run_counts_in_beams_metrics,
        test_live.test_an_event_beyond_the_horizon_waits_for_reconcile_and_an_open_chain_takes_it_in,
        test_live.test_a_lesser_copy_that_comes_later_replaces_in_every_table,
        test_live.test_who_lost_the_swap_starts_over_and_nothing_is_loaded_twice,
    ],
    ids=lambda test: test.__name__.removeprefix("test_"),
)
def test_what_holds_in_one_process(wide_world: World, test: Callable[[World, live.Loader], None]) -> None:
    test(wide_world, wide_world.loader)


def test_workers_replay_the_archive_to_the_same_digests_and_put_right_what_differs(wide_world: World) -> None:
    world = test_replay.loaded(wide_world)
    here = [report["sha256"] for report in test_replay.run(world)]
    assert [report["sha256"] for report in test_replay.run(world, source="archive")] == here
    row = world.sessions().row(0, named=True)
    alter = "ALTER TABLE session_rows UPDATE pageviews = pageviews + 1 WHERE session_id = {id:UInt64}"
    world.warehouse.command(f"{alter} SETTINGS mutations_sync = 2", {"id": row["session_id"]})
    told = test_replay.run(world, source="archive")
    assert [report["sha256"] for report in told] == here
    assert sorted(name for report in told for name in report["differs"]) == ["sessions"]
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)
    assert [path for path in (world.folder / "exchange").rglob("*") if path.is_file()] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # Beam's reader of a dead worker
def test_a_killed_worker_changes_nothing(wide_world: World, executor: ProcessExecutor) -> None:
    wide_world.publish(*history(1))
    folder, over, killed = wide_world.folder / "exchange", threading.Event(), threading.Event()

    def kill() -> None:
        while not any(files for _, _, files in os.walk(folder)):  # until frames wait there: the run is in its middle
            if over.wait(0.001):
                break
        os.kill(executor.pids()[0], signal.SIGKILL)
        killed.set()

    threading.Thread(target=kill).start()
    with contextlib.suppress(JobFailed):
        wide_world.loader.step()
    over.set()
    assert killed.wait(patient(60))
    wide_world.reopen()
    assert_all_is_stored_once(wide_world)


def test_a_replay_says_in_words_that_its_runner_does_not_answer(
    wide_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "_JOB_SERVER_SECONDS", 1.0)
    test_replay.loaded(wide_world)
    nobody = portable.executor(f"flink://127.0.0.1:{free_port()}?workers=127.0.0.1:1", travelling.command())
    wide_world.loader.runner = RemoteRunner(nobody, str(wide_world.folder / "exchange"), shards=3)
    verbs = jobs.of(cast("Parts", wide_world), lambda: [wide_world.loader])
    day = test_replay.DAY.isoformat()
    with pytest.raises(Failed, match="start Beam's Flink job server"):
        list(verbs["replay"](first=day, last=day, site=None, source="archive", dry_run=True))
