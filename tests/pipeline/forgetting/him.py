"""Him who is forgotten: what he did, and where anything of him is left."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

from activity.event import DEAD_LETTER_TOPIC, Event
from brokers.base import Record
from brokers.sqlite.broker import SqliteBroker
from pipeline import forget, replay
from pipeline.checkpoint import CheckpointRepository
from pipeline.erasing import Person
from pipeline.rebuild import reconcile
from stores.archive import ParquetArchive
from stores.days import DayTables
from stores.erasure import Eraser
from tests.pipeline.test_live import history
from tests.pipeline.world import T0, World

SITE, HIM, MARK = "a.example", "5eedf00dcafe0b1e", "mark-of-him"
DAY = datetime.fromtimestamp(T0 / 1000, UTC).date()
PERSON = Person(SITE, HIM)
TABLES = (
    "event_rows", "session_rows", "rollup_1m_rows", "rollup_1h_rows", "dead_letter_rows", "letter_deeds", "day_values",
    "day_visits", "open_visits", "open_days", "month_values",
)  # fmt: skip
NUMBERS = ("events", "sessions", "rollup_1m", "rollup_1h")


def his(each: Event) -> Event:
    """The event as one of his, with a mark in all texts."""
    more: dict[str, Any] = {
        "visitor": HIM, "url": f"https://a.example/{MARK}", "path": f"/{MARK}", "title": MARK, "term": MARK,
        "user": MARK, "name": MARK, "props": {"p": MARK},
    }  # fmt: skip
    return msgspec.structs.replace(each, **more)
HISTORY = [his(each) if each.visitor == f"{6:016x}" else each for each in history(4, 300)]


def letter(received: bytes) -> Record:
    envelope = {"reason": "malformed", "received_at": T0, "bytes": base64.b64encode(received).decode()}
    return Record(DEAD_LETTER_TOPIC, None, json.dumps(envelope).encode())
HIS_LETTER, ANOTHER = letter(f'{{"visitor":"{HIM}","user":"{MARK}"'.encode()), letter(b'{"visitor":"her"')


def fill(world: World, events: list[Event], *letters: Record) -> None:
    for i in range(0, len(events), 100):
        world.publish(*events[i : i + 100])
        world.broker.publish(letters)
        world.loader.drain()
        world.flush()
    reconcile(world.loader)
    tables = DayTables(world.warehouse)
    tables.build(SITE, "UTC", DAY)
    tables.open.build(SITE, "UTC", DAY, [world.loader.checkpoint().batch], 1)


def go(world: World, person: Person = PERSON) -> dict[str, Any]:
    return forget.forget(world.loader, world.archive, person, lambda _what: None)


class Kept(NamedTuple):
    numbers: list[pl.DataFrame]
    letters: int
    counted: int | None


def kept(world: World) -> Kept:
    numbers = [world.warehouse.query(f"SELECT * FROM {name} ORDER BY ALL") for name in NUMBERS]
    return Kept(numbers, world.count("SELECT count() FROM dead_letters"), world.loader.open().events)


def assert_as(world: World, wanted: Kept) -> None:
    found = kept(world)
    for name, ours, theirs in zip(NUMBERS, found.numbers, wanted.numbers, strict=True):
        assert ours.equals(theirs), name
    assert found[1:] == wanted[1:]
    assert not world.loader.open().missing


def traces(world: World) -> list[str]:
    """Where anything of him is: in a row, a file of the archive or a segment, or as plain bytes in any file."""
    number, found = int(HIM, 16), []
    for table in TABLES:
        texts = world.warehouse.query(f"SELECT toString(tuple(*)) AS row FROM {table}")["row"]
        if any(text in row for row in texts for text in (MARK, HIM, str(number))):
            found.append(table)
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        "archive/**/*.parquet": pl.read_parquet, "checkpoint/segments-*/*": pl.read_ipc,
    }  # fmt: skip
    for pattern, read in readers.items():
        found += [str(path) for path in world.folder.glob(pattern) if (read(path)["visitor"] == number).any()]
    of_tombstone = world.folder / "checkpoint" / "erasures"
    for path in world.folder.rglob("*"):
        if path.is_file() and path != of_tombstone:
            data = path.read_bytes()
            found += [str(path) for text in (MARK, HIM) if text.encode() in data]
    return found


def replayed(world: World, source: str) -> list[bool]:
    return [each["equal"] for each in replay.replay(world.loader, world.archive, DAY, DAY, source=source)]


class Killed(BaseException):
    pass


def killed(*_args: object, **_more: object) -> None:
    raise Killed


# Where a kill strikes: at a call of this method, the first, the second …
STEPS: list[tuple[type, str, int]] = [
    (Eraser, "uncount", 1),
    (Eraser, "_delete", 2),
    (Eraser, "_delete", 6),
    (CheckpointRepository, "forget", 1),
    (ParquetArchive, "commit", 1),
    (ParquetArchive, "delete", 2),
    (SqliteBroker, "erase", 2),
]
