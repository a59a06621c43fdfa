"""The stored state: what a commit writes follows its batch, and at every moment a start finds what is open."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

import stores
from activity import columns, session
from activity.definitions import GAP_MS, HORIZON_MS, WATERMARK_DELAY_MS
from pipeline import checkpoint as checkpoints
from pipeline import io, live
from pipeline.checkpoint import Checkpoint, CheckpointRepository, OpenState
from tests.oracles import open_state
from tests.pipeline.world import T0, World, event, record

MINUTE = 60_000


def state_rows(*events: object) -> pl.DataFrame:
    frame, _ = columns.decode([record(e).value for e in events])  # type: ignore[arg-type, misc]
    return frame.select(session.STATE_COLUMNS.keys())


def rows(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return sorted(frame.rows())


def opened(repository: CheckpointRepository, checkpoint: Checkpoint) -> list[tuple[object, ...]]:
    return rows(repository.state(checkpoint, OpenState()).events.frame())


@pytest.fixture
def repository(tmp_path: Path) -> CheckpointRepository:
    return CheckpointRepository(stores.connect_checkpoint(f"file://{tmp_path}"), "0")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds come soon."""
    monkeypatch.setattr(checkpoints, "SMALL_EVENTS", 40)
    monkeypatch.setattr(checkpoints, "MOST_SMALL", 6)
    monkeypatch.setattr(checkpoints, "FOLDED_EVENTS", 80)


def test_a_snapshot_with_deltas_is_still_read(repository: CheckpointRepository) -> None:
    """What a former version wrote, a lesser copy in a later delta included."""
    snapshot = state_rows(event(1, T0, received_at=T0 + 9), event(2, T0 + 1, visitor=8))
    deltas = [state_rows(event(3, T0 + 2)), state_rows(event(1, T0 - 5, received_at=T0))]
    old = Checkpoint(
        generation="0a1b",
        partitions=4,
        watermark=T0,
        snapshot=repository.put_frame("state-64", snapshot),
        deltas=[repository.put_frame(f"delta-{n}", delta) for n, delta in enumerate(deltas)],
    )
    assert opened(repository, old) == rows(session.canonical(pl.concat([snapshot, *deltas])))


@pytest.mark.usefixtures("small")
def test_at_every_commit_the_segments_hold_what_is_open(repository: CheckpointRepository) -> None:
    """Hours of small batches, some visitors staying all the time. At each commit: a start from the checkpoint has the
    plain state; nothing written was larger than a few segments of this batch's and small ones; the segments stay few;
    what was to be forgotten is in none but the former checkpoint."""
    plain, state, most = session.empty_state(), OpenState(), 0
    checkpoint = repository.swap(Checkpoint(generation="0a1b", partitions=4))
    for batch in range(1, 81):
        now = T0 + batch * 4 * MINUTE
        visitors = [1, 2, *range(batch * 10, batch * 10 + 8)]
        taken = state_rows(*(event(batch * 100 + v % 100, now, visitor=v) for v in visitors))
        before = set(repository.store.names("segments-0/"))
        segments = [*checkpoint.segments(), repository.put_frame(f"delta-{batch}", taken)]
        state.add(segments[-1], taken)
        watermark = session.pruned_at(now)
        state.events.prune(watermark)
        plain = open_state.prune(open_state.advance(plain, taken, 0)[0], watermark)[0]
        segments, old = repository.folded(state, segments, batch)
        written = set(repository.store.names("segments-0/")) - before
        most = max(most, sum(repository.get_frame(path).height for path in written))
        # A crash before the swap leaves the former checkpoint whole.
        assert len(opened(repository, checkpoint)) >= len(visitors) * (batch > 1)
        former, checkpoint = checkpoint, msgspec.structs.replace(checkpoint, deltas=segments, watermark=now)
        repository.swap(checkpoint)
        assert opened(repository, checkpoint) == rows(plain) == rows(state.events.frame())
        # One that follows finds it too, from what it had of the former; and one after the swap leaves only litter.
        followed = repository.state(former, OpenState())
        assert rows(repository.state(checkpoint, followed).events.frame()) == rows(plain)
        if batch % 10:
            repository.forget(old)
        else:
            repository.sweep(checkpoint)
        assert {*repository.store.names("segments-0/")} == {*segments}
        assert len(segments) <= 3 * checkpoints.MOST_SMALL
    assert most <= 10 + checkpoints.FOLDED_EVENTS + checkpoints.SMALL_EVENTS < plain.height


def test_segments_of_which_all_has_expired_go_without_a_write(repository: CheckpointRepository) -> None:
    state, segments = OpenState(), []
    for batch in range(3):
        taken = state_rows(*(event(batch * 10 + n, T0, visitor=batch) for n in range(3)))
        segments.append(repository.put_frame(f"delta-{batch}", taken))
        state.add(segments[-1], taken)
    assert repository.folded(state, segments, 3) == (segments, [])
    state.events.prune(T0 + GAP_MS + HORIZON_MS + 1)
    assert repository.folded(state, segments, 4) == ([], segments)
    assert {*repository.store.names("segments-0/")} == {*segments}


@pytest.mark.usefixtures("small")
def test_what_a_commit_writes_does_not_grow_with_what_is_open(world: World, loader: live.Loader) -> None:
    world.publish(*(event(n, T0, visitor=n) for n in range(500)))
    loader.drain()
    had, written = set(world.checkpoint.names("segments-0/")), []
    for n in range(8):
        world.publish(event(1000 + n, T0, visitor=1000 + n))
        loader.drain()
        now = set(world.checkpoint.names("segments-0/"))
        written += [loader.repository.get_frame(path).height for path in now - had]
        had = now
    assert sum(written) < 100
    world.reopen()
    world.publish(*(event(2000 + n, T0 + MINUTE, visitor=n) for n in range(500)))
    world.loader.drain()
    assert world.sessions().filter(pl.col("events") == 2).height == 500


@pytest.mark.parametrize("failing", ["publish", "put", "swap"])
def test_a_commit_that_fails_halfway_is_made_good(
    world: World, loader: live.Loader, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """The process lives on: what it had taken in beforehand must not count twice, nor be closed unsaid."""
    world.publish(event(1), event(2, T0 + 1000))
    loader.drain()
    loader.clock = lambda: T0 + HORIZON_MS + GAP_MS + 2 * MINUTE
    world.publish(event(3, T0 + HORIZON_MS + GAP_MS + MINUTE))
    owner, name = {
        "publish": (io, "publish_closed"),
        "put": (loader.repository, "put_frame"),
        "swap": (loader, "parts_fields"),
    }[failing]

    def fails(*_: object) -> None:
        raise OSError("a fault of the test")

    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(OSError, match="a fault of the test"):
        loader.step()
    monkeypatch.undo()
    said: list[pl.DataFrame] = []
    monkeypatch.setattr(io, "publish_closed", lambda _broker, closed: said.append(closed))
    loader.clock = lambda: T0 + HORIZON_MS + GAP_MS + 2 * MINUTE
    loader.drain()
    loader.drain()
    assert [frame["events"].to_list() for frame in said if frame.height] == [[2]]
    assert sorted(world.sessions()["events"]) == [1, 2]


def test_a_session_that_became_final_before_a_restart_is_published_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermark passed its end after the last prune: the state as it is loaded must still have it."""
    said: list[pl.DataFrame] = []
    monkeypatch.setattr(io, "publish_closed", lambda _broker, closed: said.append(closed))
    world.publish(event(1))
    world.loader.drain()
    expires = T0 + GAP_MS + HORIZON_MS + WATERMARK_DELAY_MS
    for number, at in enumerate((expires, expires + 5_000)):
        world.now = at
        world.publish(event(2 + number, at, visitor=8))
        world.loader.drain()
    world.reopen()
    world.now = expires + 2 * MINUTE
    world.loader.drain()
    assert [frame["visitor"].to_list() for frame in said if frame.height] == [[7]]


def test_a_segment_has_no_text_of_rows_that_were_filtered_out(tmp_path: Path) -> None:
    store = stores.connect_checkpoint(f"file://{tmp_path}")
    frame = pl.DataFrame({"path": ["/a-long-enough-text-of-hers", "/a-long-enough-text-of-his"]})
    path = CheckpointRepository(store, "0").put_frame("delta-1", frame.filter(pl.col("path").str.ends_with("hers")))
    data = store.get(path)
    assert b"of-hers" in data and b"of-his" not in data
