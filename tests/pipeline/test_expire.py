"""The retention of a site: of the days before nothing is left, all else is as if they had never been, and stays so."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from activity.definitions import DAY_MS, GAP_MS, HOUR_MS, MINUTE_MS, kept_since
from activity.event import DEAD_LETTER_TOPIC, Event, EventType
from brokers.base import Record
from brokers.sqlite.broker import SqliteBroker
from pipeline import audit, expire, forget, live, recover, replay
from pipeline.checkpoint import CheckpointRepository
from pipeline.erasing import Person
from pipeline.rebuild import reconcile
from pipeline.resize import resize
from pipeline.unit import Unit, all_of
from stores.archive import ParquetArchive
from stores.checkpoint import FolderCheckpointStore
from stores.days import DayTables
from stores.erasure import Eraser
from stores.receipts import Span
from tests.pipeline.forgetting.him import NUMBERS, Kept, Killed, assert_as, kept
from tests.pipeline.world import T0, World, event

SITE, MARK, DAYS = "a.example", "mark-of-old-days", 1
CUT = kept_since(T0, DAYS)
FIRST = datetime.fromtimestamp(CUT / 1000, UTC).date()
TODAY = datetime.fromtimestamp(T0 / 1000, UTC).date()
TABLES = (
    "event_rows", "session_rows", "rollup_1m_rows", "rollup_1h_rows", "dead_letter_rows", "letter_deeds", "day_values",
    "day_visits", "open_visits", "open_days", "month_values",
)  # fmt: skip


def happened() -> list[Event]:
    """Visits of four days before the boundary and two behind it, some of them over it; old ones are marked."""
    times = [(n, CUT - 4 * DAY_MS + n * 2 * HOUR_MS) for n in range(70)]
    found = [event(n, at, n % 5) for n, at in times if at <= T0]
    # Visits over the boundary, and right up to it.
    found += [event(100 + n, CUT + (n - 2) * 10 * MINUTE_MS, 11, type=EventType.CUSTOM, name="n") for n in range(6)]
    found += [event(110, CUT - MINUTE_MS, 12), event(111, CUT - 1, 13), event(112, CUT, 13)]
    # A chain that runs for days: it is cut at midnights, and at others without its beginning.
    found += [event(200 + n, CUT - 30 * HOUR_MS + n * (GAP_MS - 1), 14) for n in range(125)]
    found += [event(400, CUT - DAY_MS, 15, bot="spider"), event(401, CUT + DAY_MS, 15, bot="spider")]
    # An import brings old days today: what has expired of it was received in an hour that is kept.
    found += [event(500 + n, CUT + (n - 1) * HOUR_MS, 16, received_at=T0, protocol="import") for n in range(3)]
    found = [old(each) if each.occurred_at < CUT else each for each in found]
    return found + [event(600 + n, CUT - (n - 2) * DAY_MS, 17, site="b.example") for n in range(4)]


def old(each: Event) -> Event:
    more: dict[str, Any] = {
        "url": f"https://a.example/{MARK}", "path": f"/{MARK}", "title": MARK, "term": MARK, "user": MARK,
    }  # fmt: skip
    return msgspec.structs.replace(each, **more)


HISTORY = happened()
OLD = [each for each in HISTORY if each.site == SITE and each.occurred_at < CUT]


def letter(site: str, at: int, text: str) -> Record:
    received = base64.b64encode(text.encode()).decode()
    envelope = {"reason": "malformed", "received_at": at, "bytes": received, "site": site, "id": f"{at:012x}{7:016x}"}
    return Record(DEAD_LETTER_TOPIC, None, json.dumps(envelope).encode())


OLD_LETTER = letter(SITE, CUT - 1, MARK)
LETTERS = [letter(SITE, CUT, "kept"), letter("b.example", CUT - 1, "of another site")]


def fill(world: World, events: list[Event], letters: list[Record]) -> None:
    world.publish(*events[:150])
    world.loader.drain()
    world.flush()
    world.publish(*events[150:], *events[:20])
    world.broker.publish(letters)
    world.loader.drain()
    world.flush()
    reconcile(world.loader)
    tables = DayTables(world.warehouse)
    for at in (CUT - DAY_MS, CUT, CUT + DAY_MS):
        tables.build(SITE, "UTC", datetime.fromtimestamp(at / 1000, UTC).date())


def go(world: World, days: int = DAYS) -> dict[str, Any]:
    return expire.expire(world.loader, world.archive, SITE, days, lambda _what: None)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world with old days."""
    world = World(tmp_path_factory.mktemp("filled"))
    fill(world, HISTORY, [OLD_LETTER, *LETTERS])
    world.close()
    return world.folder


@pytest.fixture
def world(filled: Path, tmp_path: Path) -> Iterator[World]:
    """A copy of that world."""
    made = World(shutil.copytree(filled, tmp_path / "world", symlinks=True))
    yield made
    made.close()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What there is in a world in which the old days never were."""
    world = World(tmp_path_factory.mktemp("without"))
    fill(world, [each for each in HISTORY if each not in OLD], LETTERS)
    found = kept(world)
    world.close()
    return found


def traces(world: World) -> list[str]:
    """Where anything of the old days is: in a row, in a file of the archive or the state, or as bytes of any file."""
    found = []
    for table in TABLES:
        rows = world.warehouse.query(f"SELECT toString(tuple(*)) AS row FROM {table}")["row"].cast(pl.Binary)
        if any(MARK.encode() in row for row in rows):
            found.append(table)
    for pattern, read in (("archive/**/*.parquet", pl.read_parquet), ("checkpoint/segments-*/*", pl.read_ipc)):
        frames = ((path, read(path)) for path in world.folder.glob(pattern))
        found += [str(path) for path, rows in frames if "user" in rows.columns and (rows["user"] == MARK).any()]
    found += [str(path) for path in world.folder.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()]
    return found


def replayed(world: World, source: str) -> dict[str, tuple[str, bool]]:
    """The digest of each day of the site by a dry run, and whether that is what is stored."""
    first, last = date(2026, 9, 1), date(2026, 9, 22)
    reports = replay.replay(world.loader, world.archive, first, last, site=SITE, source=source, dry_run=True)
    return {str(each["day"]): (str(each["sha256"]), bool(each["equal"])) for each in reports}


def expired_by_the_account(world: World) -> int:
    """How many events the audit says have expired, of hours that all sum."""
    first = (CUT - 10 * DAY_MS) // HOUR_MS * HOUR_MS
    sources = audit.Sources(world.broker, world.warehouse, world.archive, world.loader.checkpoint_store)
    hours = list(audit.audit(sources, Span(first, first + 13 * 24 * HOUR_MS)))
    assert [hour for hour in hours if not hour.balanced] == []
    assert sum(hour.erased for hour in hours) == 0
    return sum(hour.expired for hour in hours)


def test_all_is_as_if_the_old_days_had_never_been(world: World, without: Kept) -> None:
    seen = traces(world)
    assert {"event_rows", "session_rows", "rollup_1m_rows", "day_values", "dead_letter_rows"} <= {*seen}
    assert any(".parquet" in each for each in seen)
    before = replayed(world, "broker")
    looked = expire.look(world.loader, world.archive, SITE, DAYS)
    receipt = go(world)
    removed = receipt["removed"]
    assert looked["removed"].items() <= removed.items()
    assert (receipt["kept_since"], removed["days"], removed["dead_letters"]) == (str(FIRST), 4, 1)
    copies = [each for each in [*HISTORY, *HISTORY[:20]] if each in OLD]
    assert removed["events"] == len(OLD)
    assert removed["log_records"] > len(copies) + 1  # published visits are in the log, too
    assert receipt["remains"] == []
    # A visit that was cut, and a chain of days that is cut elsewhere.
    assert {each["day"] for each in receipt["days"]} <= {str(FIRST), str(TODAY)}
    assert traces(world) == []
    assert_as(world, without)
    for source in ("broker", "archive"):
        after = replayed(world, source)
        assert list(after) == [day for day in before if day >= str(FIRST)]
        assert all(equal for _, equal in after.values())
        restated = {each["day"]: each["after"] for each in receipt["days"]}
        assert {day: digest for day, (digest, _) in after.items()} == {
            day: restated.get(day, before[day][0]) for day in after
        }
    assert expired_by_the_account(world) == len(copies)
    world.reopen()
    recover.recover(world.loader, world.archive)
    assert_as(world, without)
    assert go(world)["removed"]["events"] == 0
    assert expired_by_the_account(world) == len(copies)
    assert_as(world, without)


def test_a_lost_checkpoint_does_not_bring_them_back(world: World, without: Kept) -> None:
    go(world)
    world.publish(*OLD[:30], event(9_000, CUT, 3))  # as on a broker that cannot erase, or by another copy
    for path in (world.folder / "checkpoint").iterdir():
        if path.is_file():
            path.unlink()
    world.reopen()
    recover.recover(world.loader, world.archive)
    world.loader.drain()
    world.flush()
    reconcile(world.loader)
    assert MARK not in str(world.warehouse.query("SELECT path, user, entry_page FROM events, sessions").rows())
    assert world.count("SELECT count() FROM events") == without.numbers[0].height + 1
    assert expired_by_the_account(world) >= 30
    assert not any((pl.read_parquet(path)["user"] == MARK).any() for path in world.folder.glob("archive/**/*.parquet"))


def test_a_longer_retention_removes_nothing_and_brings_nothing_back(world: World, without: Kept) -> None:
    go(world)
    assert go(world, 400)["removed"]["events"] == 0
    world.publish(*OLD[:5])
    [counters] = world.loader.drain()
    assert counters["decode.erased"] == 5
    assert_as(world, without)
    assert world.erasures().expired_before(SITE) == CUT
    # And the next one is another number, which the commit goes by.
    receipt = forget.forget(world.loader, world.archive, Person(SITE, f"{11:016x}"), lambda _what: None)
    assert receipt["removed"]["events"] == 4
    assert world.loader.open().erased == receipt["epoch"] == 3
    assert world.warehouse.query("SELECT count() FROM expiries FINAL").item() == 1


STEPS: list[tuple[type, str, int]] = [
    (Eraser, "record_expiry", 1),
    (Eraser, "_delete", 3),
    (CheckpointRepository, "sweep", 1),
    (ParquetArchive, "commit", 1),
    (ParquetArchive, "delete", 2),
    (SqliteBroker, "erase", 1),
    (Eraser, "count_gone", 2),
]


@pytest.mark.parametrize(("kind", "method", "number"), STEPS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_what_a_kill_broke_off_is_finished_by_the_next_start(
    world: World, without: Kept, monkeypatch: pytest.MonkeyPatch, kind: type, method: str, number: int
) -> None:
    real, calls = getattr(kind, method), iter(range(1, 1000))

    def killed(*_args: object, **_more: object) -> None:
        raise Killed

    def call(*args: Any, **more: Any) -> Any:
        if next(calls) == number:
            monkeypatch.setattr(FolderCheckpointStore, "swap", killed)  # nothing on the way out may reach the stores
            raise Killed
        return real(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(kind, method, call)
        with pytest.raises(Killed):
            go(world)
    monkeypatch.undo()
    world.reopen()
    world.loader.take_over()
    forget.take_over(world.checkpoint)
    recover.recover(world.loader, world.archive)
    world.loader.drain()
    assert_as(world, without)
    assert traces(world) == []
    assert expired_by_the_account(world) == sum(each in OLD for each in [*HISTORY, *HISTORY[:20]])


def test_by_itself_it_waits_a_day_after_the_setting_was_seen(world: World) -> None:
    store, now = world.checkpoint, T0
    assert expire.due(store, {}, now) == ({}, [])
    assert expire.due(store, {SITE: 30}, now - 9) == ({}, [SITE])
    assert expire.due(store, {SITE: 30}, now) == ({}, [SITE])  # nobody was told of it
    expire.note(store, SITE, 30, now)
    assert expire.due(store, {SITE: 30}, now + DAY_MS - 1) == ({}, [])
    assert expire.due(store, {SITE: 30}, now + DAY_MS) == ({SITE: 30}, [])
    # A shorter one is new, a longer one is not; without the setting nothing is left to wait for.
    assert expire.due(store, {SITE: 7}, now + DAY_MS) == ({}, [SITE])
    expire.note(store, SITE, 7, now + DAY_MS)
    assert expire.due(store, {SITE: 60}, now + 2 * DAY_MS) == ({SITE: 60}, [])
    assert expire.due(store, {}, now + 2 * DAY_MS) == ({}, [])
    assert expire.due(store, {SITE: 60}, now + 2 * DAY_MS) == ({}, [SITE])


def test_what_is_open_in_memory_begins_at_the_boundary(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.now = CUT + MINUTE_MS
    world.publish(*(event(n, CUT + (n - 3) * 10 * MINUTE_MS, 20) for n in range(4)))
    world.loader.drain()
    world.now = T0

    def opened() -> pl.DataFrame:
        found = world.loader.open_events(world.loader.open())
        assert found is not None
        return found.filter(pl.col("site") == SITE)

    assert (opened()["occurred_at"] < CUT).any()
    go(world)
    assert opened().height
    assert (opened()["occurred_at"] >= CUT).all()
    world.close()


def test_once_a_day_is_enough(world: World) -> None:
    store = world.checkpoint
    expire.note(store, SITE, DAYS, T0 - DAY_MS)
    assert expire.due(store, {SITE: DAYS}, T0) == ({SITE: DAYS}, [])
    go(world)
    assert expire.due(store, {SITE: DAYS}, T0) == ({}, [])
    assert expire.due(store, {SITE: DAYS}, T0 + DAY_MS) == ({SITE: DAYS}, [])


def test_several_units_let_go_together(world: World, without: Kept) -> None:
    def loader_of(unit: Unit) -> live.Loader:
        return replace(world.loader, unit=unit)

    resize(loader_of, 3)
    loaders = [loader_of(unit) for unit in all_of(3)]
    for loader in loaders:
        loader.drain()
    whole = loaders[0].of_all_units()
    receipt = expire.expire(whole, world.archive, SITE, DAYS, lambda _what: None)
    assert receipt["removed"]["events"] == len(OLD)
    assert traces(world) == []
    for name, wanted in zip(NUMBERS, without.numbers, strict=True):
        assert world.warehouse.query(f"SELECT * FROM {name} ORDER BY ALL").equals(wanted), name
    assert {loader.open().erased for loader in loaders} == {1}
    assert sum(loader.open().events or 0 for loader in loaders) == without.counted
    days = replay.replay(whole, world.archive, FIRST, TODAY, source="broker", dry_run=True)
    assert all(each["equal"] for each in days)
    assert not whole.open().missing
