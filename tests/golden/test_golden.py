"""Bytes of every format that was ever written are read for ever, and today's writer writes what the newest folder has.

`first` is from before log, manifest, salts and keys had checksums. See `__main__.py` for a new folder.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

import stores
from activity import codec
from activity.refusal import DeadLetter
from ingest.spool import SpoolFile
from pipeline import recover
from stores.base import Archive
from tests.golden.__main__ import BOT, DAY, LATE, LETTER, stored, write
from tests.oracles import digest
from tests.pipeline.world import T0, World

HERE = Path(__file__).parent
FOLDERS = sorted(path.name for path in HERE.iterdir() if (path / "wire").is_dir())
NEWEST = "checksums"


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of each."""
    return shutil.copytree(HERE / request.param, tmp_path / "golden")


def lines(folder: Path) -> list[bytes]:
    return (folder / "wire" / "events.jsonl").read_bytes().splitlines()


def test_events_on_the_wire(folder: Path) -> None:
    for line in lines(folder):
        assert codec.encode(codec.decode(line)) == line


def test_dead_letters_on_the_wire(folder: Path) -> None:
    value = (folder / "wire" / "dead-letter.json").read_bytes()
    assert msgspec.json.decode(value, type=DeadLetter) == LETTER


def test_a_spool_file(folder: Path) -> None:
    file = SpoolFile(folder / "wire" / "1.spool")
    found = file.read(0, 100)
    file.close()
    assert found.damaged == []
    assert [record.value for record in found.records] == lines(folder)[:4]


def test_salts_and_keys(folder: Path) -> None:
    live = stores.connect_live(str(folder / "live"))
    assert live.salt("2099-01-01") == (folder / "live" / "salts" / "2099-01-01").read_bytes()[:16]
    assert live.import_key("a.example") == (folder / "live" / "keys" / "a.example.key").read_bytes()[:16]


def archived(archive: Archive) -> pl.DataFrame:
    """All events of an archive, each file checked against its entry."""
    return pl.concat([archive.read(entry.path, entry=entry) for entry in archive.manifest().entries])


def test_log_archive_and_checkpoint(folder: Path) -> None:
    """The warehouse is not there, so a start makes it again of the archive, and then of the log alone."""
    events = [*stored(), BOT, LATE]
    for source in ("archive", "log"):
        copy = shutil.copytree(folder, folder.with_name(source))
        if source == "log":
            shutil.rmtree(copy / "archive")
        world = World(copy)
        world.now = T0 + 20 * 60_000
        assert len(world.raw()) == len(events)
        assert sorted(world.raw()) == sorted(codec.encode(event) for event in events)
        checkpoint = world.loader.open()
        assert world.checkpoint.names("damaged/") == []
        assert world.loader.repository.dirty_days(checkpoint).rows() == [("a.example", 9, LATE.occurred_at // DAY)]
        if source == "archive":
            assert archived(world.archive).height == len(events)
        recover.recover(world.loader, world.archive)
        assert world.warehouse.count_events() == len(events)
        world.close()
        assert world.checkpoint.names("damaged/") == []


def test_the_digest_of_the_archive(folder: Path) -> None:
    found = list(digest.sessions(digest.once(digest.rows(folder / "archive"))))
    assert sorted(len(session) for session in found) == [1, 2, 2]


def shape(value: Any) -> Any:
    """What a JSON value consists of, whatever its numbers and texts are."""
    if isinstance(value, dict):
        return {name if not name[:1].isdigit() else "N": shape(each) for name, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


def described(folder: Path) -> dict[str, Any]:
    """The form of all files, without what differs from run to run."""
    told: dict[str, Any] = {path.name: path.read_bytes() for path in (folder / "wire").iterdir()}
    log = sqlite3.connect(folder / "log.sqlite")
    told["log"] = log.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    log.close()
    for path in sorted((folder / "archive").rglob("*")):
        if path.suffix == ".parquet":
            told[path.relative_to(folder).as_posix().rpartition("/")[0]] = pl.read_parquet_schema(path)
        elif path.suffix == ".json":
            told["index" if path.name == "head.json" else "list"] = shape(
                json.loads(path.read_bytes().partition(b"\n")[2] or path.read_bytes())
            )
            told["names of lists"] = [len(each) for each in path.name.split(".")] if path.name != "head.json" else 0
    head, checksum, text = (folder / "checkpoint" / "unit-0").read_bytes().split(b"\n", 2)
    told["checkpoint"] = len(head), len(checksum), shape(json.loads(text))
    for path in (folder / "checkpoint" / "segments-0").iterdir():
        told[path.name.partition("-")[0]] = pl.read_ipc_schema(path)
    for path in (folder / "live").rglob("*"):
        told[path.name] = path.stat().st_size
    return told


def test_todays_writer_writes_the_newest_form(tmp_path: Path) -> None:
    write(tmp_path / "today")
    today, newest = described(tmp_path / "today"), described(HERE / NEWEST)
    assert today.keys() == newest.keys()
    other = [name for name, form in today.items() if form != newest[name]]
    assert other == [], "a format has changed: write a new folder beside the old ones, see tests/golden/__main__.py"


def test_the_files_are_small() -> None:
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) < 220_000


MIGRATING = """
import sys
import stores
warehouse = stores.connect_warehouse(sys.argv[1])
plain, until, count = warehouse.command, int(sys.argv[2]), 0
def command(statement, params=None):
    global count
    if count == until:
        print("reached", flush=True)
        sys.stdin.read()
    count += 1
    return plain(statement, params)
warehouse.command = command
warehouse.migrate()
schema = warehouse.query("SELECT name, create_table_query AS sql FROM system.tables "
    "WHERE database = currentDatabase() ORDER BY name")
applied = warehouse.query("SELECT DISTINCT number, name FROM schema_migrations ORDER BY number").rows()
import json, re
print(json.dumps([[name, re.sub("UUID '[^']*'", "", sql)] for name, sql in schema.rows()] + applied))
print(count)
warehouse.close()
"""


def migrate(folder: Path, until: int) -> list[Any]:
    """The schema after a migration, or [] when it was killed just before its statement number `until`."""
    line = [sys.executable, "-c", MIGRATING, f"chdb:///{folder}", str(until)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    if first == "reached\n":
        process.kill()
        process.communicate()
        return []
    process.communicate("")
    assert process.returncode == 0
    return list(json.loads(first))


@pytest.mark.slow
def test_a_migration_that_is_killed_goes_on_to_the_same_schema(tmp_path: Path) -> None:
    whole = migrate(tmp_path / "whole", -1)
    killed = tmp_path / "killed"
    for until in (3, 12, 1, 7, 20):  # counted from each start: in the middle of a migration and between two
        assert migrate(killed, until) == []
    assert migrate(killed, -1) == whole
