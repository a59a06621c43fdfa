"""Spool files that were damaged, or lost their process or their lock: nothing readable is lost, all is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from activity.event import ALL_TOPICS
from brokers.base import Record, TooLarge
from ingest.spool import FolderSpool
from tests.e2e.harness import until
from tests.ingest.conftest import Log, Running, pageview

EVENTS = 250
Start = Callable[..., Running]


@pytest.fixture
def left(start: Start, own_log: Log, tmp_path: Path) -> Path:
    """The spool file of a server that took events without a broker and was killed. The broker is back."""
    for topic in ALL_TOPICS:
        own_log.broker.delete_topic(topic)
    server = start()
    for number in range(EVENTS):
        assert server.post(pageview(id=f"{number}", title=str(number))).status == 202
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    for topic in ALL_TOPICS:
        own_log.broker.create_topic(topic)
    (found,) = (tmp_path / "spool").glob("*.spool")
    return found


def arrived(log: Log) -> set[int]:
    return {int(event["title"]) for event in Log.everything(log.broker)}


def drained(server: Running, file: Path) -> tuple[str, str]:
    """What `/ready` and `/metrics` say once the file is gone."""
    until(lambda: not file.exists(), f"{file} is drained")
    return server.get("/ready").body.decode(), server.get("/metrics").body.decode()


@pytest.mark.slow
def test_one_without_its_lock_is_drained(start: Start, own_log: Log, left: Path) -> None:
    left.with_name(left.name + ".lock").unlink()
    ready, _ = drained(start(), left)
    assert arrived(own_log) == set(range(EVENTS))
    assert ready == "ready\n"
    assert not any(left.parent.iterdir())


@pytest.mark.slow
def test_a_damaged_middle_costs_what_it_hit_and_is_kept(start: Start, own_log: Log, left: Path) -> None:
    content = bytearray(left.read_bytes())
    content[len(content) // 2] ^= 0xFF
    left.write_bytes(content)
    ready, metrics = drained(start(), left)
    missing = set(range(EVENTS)) - arrived(own_log)
    assert len(missing) == 1
    kept = left.with_name(left.name + ".damaged")
    assert f'"{missing.pop()}"'.encode() in kept.read_bytes().replace(b"\xff", b"")
    size = kept.stat().st_size
    assert f"{kept} keeps {size} bytes that could not be published" in ready
    assert f"\nfootfall_spool_damaged_bytes {size}.0\n" in metrics


@pytest.mark.slow
def test_a_tail_that_breaks_off_is_kept_and_the_rest_arrives(start: Start, own_log: Log, left: Path) -> None:
    os.truncate(left, left.stat().st_size - 7)
    ready, _ = drained(start(), left)
    assert arrived(own_log) == set(range(EVENTS - 1))
    assert "bytes that could not be published" in ready


@pytest.mark.slow
@pytest.mark.parametrize("begin", [b"", b"\0" * 4096, b"SQLite format 3\0" + b"\xff" * 84])
def test_bytes_of_nobody_before_the_first_event_cost_nothing(
    start: Start, own_log: Log, left: Path, begin: bytes
) -> None:
    left.write_bytes(begin + left.read_bytes())
    left.with_name(left.name + ".lock").write_bytes(b"nonsense of whoever wrote it")
    drained(start(), left)
    assert arrived(own_log) == set(range(EVENTS))


@pytest.mark.slow
def test_one_that_cannot_be_opened_is_named_and_holds_nobody_up(start: Start, own_log: Log, left: Path) -> None:
    blocked = left.with_name("0-1-feed.spool")
    blocked.mkdir()
    server = start()
    ready, _ = drained(server, left)
    assert arrived(own_log) == set(range(EVENTS))
    assert f"{blocked} cannot be drained: " in ready
    assert server.get("/ready").status == 200


def test_what_the_broker_will_never_take_is_kept_and_holds_nobody_up(tmp_path: Path) -> None:
    taken: list[bytes | None] = []

    def publish(records: list[Record]) -> None:
        large = [index for index, record in enumerate(records) if len(record.value or b"") > 100]
        taken.extend(record.value for index, record in enumerate(records) if index not in large)
        if large:
            raise TooLarge("100 bytes at most", large)

    spool = FolderSpool(tmp_path)
    spool.append([Record("t", None, value) for value in (b"first", b"x" * 101, b"last")])
    assert spool.drain(publish) == 3  # type: ignore[arg-type]
    assert taken == [b"first", b"last"]
    assert not spool.waits()
    (kept,) = spool.damaged()
    assert b"x" * 101 in kept.read_bytes()


def test_what_was_drained_before_a_crash_is_not_sent_again(tmp_path: Path) -> None:
    taken: list[bytes | None] = []

    def publish(records: list[Record]) -> None:
        if len(taken) >= 1000:
            raise ConnectionError
        taken.extend(record.value for record in records)

    gone, finder = FolderSpool(tmp_path), FolderSpool(tmp_path)
    gone.append([Record("t", None, b"%d" % number) for number in range(1200)])
    with pytest.raises(ConnectionError):
        gone.drain(publish)  # type: ignore[arg-type]
    gone.close()
    del taken[:]
    finder.drain(publish)  # type: ignore[arg-type]
    assert taken == [b"%d" % number for number in range(1000, 1200)]


def test_events_that_come_during_every_publish_do_not_keep_the_spool_from_its_end(tmp_path: Path) -> None:
    spool = FolderSpool(tmp_path)
    records = [Record("t", b"key", b"%d" % number) for number in range(1_200)]
    spool.append(records[:600])
    published: list[Record] = []
    arriving = iter(records[600:])

    def publish(given: Sequence[Record]) -> None:
        published.extend(given)
        assert len(published) < len(records), "the drain chases what arrives and never ends"
        if not spool._lock.locked():  # while it is held, an append waits, and goes to the broker afterwards
            assert spool.append_behind([next(arriving)])

    assert spool.drain(publish) == len(published) > 600
    assert [record.value for record in published] == [b"%d" % number for number in range(len(published))]
    assert not spool.waits()
