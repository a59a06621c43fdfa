"""The archive's files, and what the inventory of a warehouse means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.doctor import stored
from pipeline.checkpoint import Checkpoint
from pipeline.losses import LOST, Part
from stores import connect_archive
from stores.archive import file_path
from stores.base import Archive, ArchivedFile
from stores.inventory import Inventory, Letters

HOUR = 3_600_000
T0 = 1_790_000_000_000


def add(archive: Archive, hours: range) -> list[str]:
    """A file an hour, each with a row; their paths."""
    entries = []
    for hour in hours:
        at = T0 + hour * HOUR
        path = file_path("a.example", "pageview", at, "0", str(hour))
        found = archive.write(path, pl.DataFrame({"position": [str(hour)]}).to_arrow())
        date = path.partition("date=")[2][:10]
        entries.append(
            ArchivedFile(
                path, "a.example", "pageview", date, at // HOUR % 24, "0", 1, found.bytes, found.sha256, at, at, at, at
            )
        )
    archive.commit(archive.committed().version, entries, {"t": {"0": str(hours[-1])}})
    return [entry.path for entry in entries]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return connect_archive(f"file://{tmp_path}/archive")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_newest_files_are_those_of_the_last_hours(archive: Archive) -> None:
    assert archive.newest(5) == []
    paths = add(archive, range(50))
    assert [entry.path for entry in archive.newest(30)] == paths[:-31:-1]
    assert len(archive.newest(100)) == 50


def test_an_empty_and_a_whole_archive_are_ok(archive: Archive) -> None:
    assert [told.state for told in stored.archive(archive)] == ["ok"]
    add(archive, range(25))
    (found,) = stored.archive(archive)
    assert found.finding == "25 files with 25 events; the newest 20 files read and whole"


@pytest.mark.parametrize(
    ("damage", "part"), [(flip, "its checksum is not that of the manifest"), (Path.unlink, "cannot be read")]
)
def test_a_damaged_file_is_named_and_an_old_one_by_all(
    archive: Archive, tmp_path: Path, damage: Any, part: str
) -> None:
    paths = add(archive, range(25))
    damage(tmp_path / "archive" / paths[0])
    assert [told.state for told in stored.archive(archive)] == ["ok"]
    seen: list[tuple[int, int]] = []
    (old,) = stored.whole_archive(archive, lambda done, of: seen.append((done, of)))
    assert (old.state, old.finding.startswith(paths[0]), part in old.finding) == ("wrong", True, True)
    assert seen == [(done, 25) for done in range(1, 26)]
    damage(tmp_path / "archive" / paths[-1])
    (new,) = stored.archive(archive)
    assert new.finding.startswith(paths[-1])
    assert new.remedy


def test_schema() -> None:
    def said(runs: bool = False, **found: Any) -> list[str]:
        return [told.state for told in stored.schema(Inventory(**found), runs=runs)]

    assert said() == ["ok"]
    assert said(missing=["009-day-sites"]) == ["warning"]
    assert said(missing=["009-day-sites"], runs=True) == ["wrong"]
    assert said(foreign=["010-later"], absent=["sessions"]) == ["wrong", "wrong"]


PART = ["event_rows", "202609", 1, 5, 100, 20_000, 20_001]


def test_rows_that_a_commit_recorded() -> None:
    committed = [Checkpoint(generation="a", partitions=2, parts=[Part(*PART)])]
    whole = Inventory(parts=[["event_rows", "202609", 1, 9, 150, 20_000, 20_001]])
    (found,) = stored.rows(whole, committed)
    assert (found.state, found.finding) == ("ok", "nothing is lost; 150 rows of events")
    (found,) = stored.rows(Inventory(parts=[]), committed)
    assert (found.state, "1 part of event_rows (100 rows, 2024-10-04 to" in found.finding) == ("wrong", True)
    assert stored.rows(Inventory(parts=[]), None)[0].state == "ok"
    assert LOST in stored.rows(whole, [])[0].finding
    broken, ahead = stored.rows(Inventory(parts=None, broken="a part", ahead=3, latest=T0), committed)
    assert (broken.state, ahead.state) == ("wrong", "warning")
    assert ahead.finding == "3 events from the future, the last of 2026-09-21T14:13:20+00:00"


def test_dead_letters_that_grow() -> None:
    more = stored.dead_letters(Inventory(letters=[Letters("not_json", 5, 2), Letters("no_site", 1, 1)]))
    assert more[0].state == "warning"
    assert more[0].finding == "6 in the last 24 hours, 3 in those before; by reason: 5 not_json (2), 1 no_site (1)"
    assert stored.dead_letters(Inventory(letters=[Letters("not_json", 2, 2)]))[0].state == "ok"
    assert stored.dead_letters(Inventory())[0].state == "ok"
