"""A backup and its restore in one process: what is in it, what is refused, what retention may do to a copied log."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from activity.event import ALL_TOPICS, TOPICS
from brokers.base import Position, TopicPartition
from brokers.sqlite.broker import SqliteBroker
from brokers.sqlite.storage import rewind
from infra.backup import proof
from infra.backup.folder import Writer, in_words
from infra.backup.restore import restore
from infra.backup.stage import PROVED
from infra.commands.backup import backup
from infra.commands.sites import list_ as site_list
from infra.errors import Failed
from infra.processes.core import Core
from infra.settings import Settings
from infra.wiring import Parts
from ingest.sites import add
from pipeline.checkpoint import Damaged
from pipeline.live import GROUP
from stores.accounts.roles import ALL, Grants, Role
from stores.snapshot import Snapshot
from tests.pipeline.world import T0, event, record

EVENTS = 60
DAY = 86_400_000


def settings_of(data: Path, **flags: object) -> Settings:
    return Settings.load({"FOOTFALL_DATA": str(data)}, flags)


def warehouse_at(data: Path) -> str:
    """A database of another name than by default."""
    return f"chdb://{data}/warehouse?database=web"


def run(core: Core, verb: str, **arguments: Any) -> list[dict[str, Any]]:
    return list(core.verbs[verb](**arguments))


def taken(core: Core, folder: Path) -> dict[str, Any]:
    return run(core, "backup", folder=str(folder))[-1]


def fill(core: Core, first: int = 0) -> None:
    """Put events of three days into log, warehouse and archive."""
    days = [event(n, T0 + n % 3 * DAY, visitor=n % 20) for n in range(first, first + EVENTS)]
    core.parts.create_topics()
    core.parts.broker.publish([record(each) for each in days])
    run(core, "load")
    run(core, "archive-flush")


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, its parts elsewhere too, and `copy`, its backup."""
    folder = tmp_path_factory.mktemp("backup")
    data = folder / "data"
    data.mkdir(mode=0o700)
    with Parts(settings_of(data, archive=folder / "files", warehouse=warehouse_at(data))) as parts:
        add(parts.settings.sites, "a.example", key="k" * 32)
        parts.live.salt("2026-11-28")
        parts.live.import_key("a.example")
        parts.accounts.users.add("ann@example.com", "a long enough password", Grants({ALL: Role.OWNER}))
        (parts.settings.data / "password").write_text("secret\n")
        (parts.settings.data / "password").chmod(0o600)
        (parts.settings.data / ".padlock").touch(0o600)
        spool = parts.settings.data / "spool"
        spool.mkdir()
        (spool / "1.spool").write_bytes(b"waiting")
        core = Core(parts)
        fill(core)
        told = taken(core, folder / "copy")
        assert told["events"] == EVENTS
        fill(core, EVENTS)  # what came later is not in the copy
        core.close()
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The backup, for one test to damage."""
    return Path(shutil.copytree(whole / "copy", tmp_path / "copy"))


def restored(copy: Path, data: Path, **flags: object) -> list[dict[str, Any]]:
    settings = settings_of(data, warehouse=warehouse_at(data), **flags)
    return [line for line in restore(settings, copy, nullcontext()) if "of" not in line]


def test_everything_comes_back_where_the_settings_say(whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "new"
    *days, last = restored(whole / "copy", data, archive=tmp_path / "elsewhere")
    assert [line["equal"] for line in days] == [True] * 3
    assert last["events"] == EVENTS
    old = whole / "data"
    for name in ("sites.toml", "password", ".padlock", "spool/1.spool", "live/keys/a.example.key"):
        assert (data / name).read_bytes() == (old / name).read_bytes()
        assert (data / name).stat().st_mode == (old / name).stat().st_mode
    for salt in (old / "live" / "salts").iterdir():  # its time is when it expires
        assert (data / "live" / "salts" / salt.name).read_bytes() == salt.read_bytes()
        assert (data / "live" / "salts" / salt.name).stat().st_mtime_ns == salt.stat().st_mtime_ns
    assert not (data / ".restoring").exists()
    with Parts(settings_of(data, archive=tmp_path / "elsewhere", warehouse=warehouse_at(data))) as parts:
        assert [user.name for user in parts.accounts.users.all()] == ["ann@example.com"]
        entries = parts.archive.manifest().entries
        assert sum(entry.rows for entry in entries) == EVENTS
        assert sum(parts.archive.read(entry.path, entry=entry).height for entry in entries) == EVENTS
        core = Core(parts)
        assert not core.loader.checkpoint().missing
        assert core.loader.checkpoint().lease is None
        fill(core, EVENTS)
        assert parts.warehouse.count_events() == 2 * EVENTS
        core.close()


NAMES = [
    "log.db", "accounts.db", "sites.toml", "backup.json", "beside/password", "checkpoint/unit-0", "spool/1.spool",
    "archive/_manifest/head.json", "archive/**/*.parquet", "live/keys/a.example.key", "live/salts/2026-11-28",
    "warehouse/metadata/web.sql", "warehouse/store/**/data.bin", "warehouse/store/**/deduplication_log_1.txt",
]  # fmt: skip


@pytest.mark.parametrize("pattern", NAMES)
def test_a_flipped_bit_and_a_missing_file_are_named_and_nothing_is_written(
    copy: Path, tmp_path: Path, pattern: str
) -> None:
    file = next(file for file in sorted(copy.glob(pattern)) if file.stat().st_size)
    flip(file)
    with pytest.raises(Failed, match=file.name):
        restored(copy, tmp_path / "new")
    file.unlink()
    with pytest.raises(Failed, match=file.name):
        restored(copy, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("lines", [0, 1, 10])
def test_a_list_of_checksums_that_lacks_lines_is_told(copy: Path, tmp_path: Path, lines: int) -> None:
    sums = (copy / "SHA256SUMS").read_text().splitlines(keepends=True)
    (copy / "SHA256SUMS").write_text("".join(sums[:lines] + sums[lines + 1 :]))
    with pytest.raises(Failed, match="SHA256SUMS"):
        restored(copy, tmp_path / "new")
    (copy / "SHA256SUMS").write_text("".join(sums[:-1]))
    with pytest.raises(Failed, match="SHA256SUMS"):
        restored(copy, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "warehouse/../../outside"])
def test_a_name_that_leads_out_of_the_folder_is_refused(copy: Path, tmp_path: Path, name: str) -> None:
    sums = copy / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  {name}\n{sums.read_text()}")
    with pytest.raises(Failed, match="SHA256SUMS is damaged"):
        restored(copy, tmp_path / "new")


def changed(copy: Path, **fields: Any) -> None:
    """Change what `backup.json` says, with a checksum that fits."""
    about = copy / "backup.json"
    data = json.dumps(json.loads(about.read_bytes()) | fields).encode()
    about.write_bytes(data)
    *others, _ = (copy / "SHA256SUMS").read_text().splitlines(keepends=True)
    (copy / "SHA256SUMS").write_text("".join([*others, f"{hashlib.sha256(data).hexdigest()}  backup.json\n"]))


@pytest.mark.parametrize("what", ["sha256", "events", "sessions_checksum"])
def test_what_is_not_as_it_was_does_not_count(copy: Path, tmp_path: Path, what: str) -> None:
    about = json.loads((copy / "backup.json").read_bytes())
    about["days"][0]["sha256"] = "0" * 64 if what == "sha256" else about["days"][0]["sha256"]
    about["amounts"] |= {} if what == "sha256" else {what: about["amounts"][what] + 1}
    changed(copy, **about)
    with pytest.raises(Failed, match="not what was backed up"):
        restored(copy, tmp_path / "new", archive=tmp_path / "elsewhere")
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_is_no_backup(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="is no backup"):
        restored(tmp_path / "file", tmp_path / "new")


def test_a_newer_version_is_told(copy: Path, tmp_path: Path) -> None:
    changed(copy, version=2)
    with pytest.raises(Failed, match="has version 2"):
        restored(copy, tmp_path / "new")


def test_what_a_killed_restore_left_is_replaced_and_anything_else_refused(whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "new"
    (data / ".restoring" / "warehouse").mkdir(parents=True)
    (data / "note").touch()
    with pytest.raises(Failed, match=r"not empty \(note\)"):
        restored(whole / "copy", data)
    (data / "note").unlink()
    assert restored(whole / "copy", data)[-1]["events"] == EVENTS


class Killed(BaseException):
    pass


@pytest.mark.parametrize("number", range(1, 6))
def test_a_restore_that_was_killed_at_a_rename_is_finished_by_the_next_command(
    whole: Path, tmp_path: Path, number: int
) -> None:
    data = tmp_path / "new"
    data.mkdir()
    real, calls = Path.rename, iter(range(1000))

    def rename(path: Path, target: Path) -> Path:
        if path.parent.parent == data and next(calls) == number:
            raise Killed
        return real(path, target)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Path, "rename", rename)
        restored(whole / "copy", data)
    there = {path.name for path in data.iterdir()}
    assert PROVED in there
    with pytest.raises(Failed, match="broken off when all was proved"):
        restored(whole / "copy", data)
    done = CliRunner().invoke(site_list, ["--json"], env={"FOOTFALL_DATA": str(data)})
    assert (done.exit_code, "a.example" in done.output) == (0, True), done.output
    assert {path.name for path in data.iterdir()} > there - {PROVED}
    assert not (data / PROVED).exists()
    with Parts(settings_of(data)) as parts:
        assert parts.checkpoint.load("unit-0") is not None
        assert parts.sites.get("a.example") is not None


def test_no_command_takes_a_restore_that_was_killed_before_for_a_data_folder(tmp_path: Path) -> None:
    (tmp_path / ".restoring" / "warehouse").mkdir(parents=True)
    for command in (backup, site_list):
        done = CliRunner().invoke(command, ["copy"] if command is backup else [], env={"FOOTFALL_DATA": str(tmp_path)})
        assert (done.exit_code, "was broken off" in done.output) == (1, True), done.output
    assert {path.name for path in tmp_path.iterdir()} == {".restoring", "lock"}


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Parts(settings_of(tmp_path / "data")) as parts:
        core = Core(parts)
        fill(core)
        yield core
        core.close()


def test_a_damaged_file_is_no_backup(core: Core, tmp_path: Path) -> None:
    entry = core.parts.archive.manifest().entries[0]
    file = tmp_path / "data" / "archive" / entry.path
    flip(file)
    with pytest.raises(Failed, match=file.name):
        taken(core, tmp_path / "copy")
    flip(file)
    core.parts.broker.publish([record(event(EVENTS, time.time_ns() // 10**6))])  # of a session that is open
    run(core, "load")
    segment = tmp_path / "data" / "checkpoint" / core.loader.checkpoint().segments()[-1]
    flip(segment)
    with pytest.raises(Damaged, match=segment.name):
        taken(core, tmp_path / "copy")
    flip(segment)
    warehouse = core.parts.warehouse
    warehouse.command("SYSTEM STOP MERGES event_rows")  # a merge would replace the part
    found = warehouse.query("SELECT path FROM system.parts WHERE active AND table = 'event_rows'")
    part = Path(found["path"][0], "data.bin")
    flip(part)
    with pytest.raises(Failed, match=part.parent.name):
        taken(core, tmp_path / "copy")
    flip(part)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert list((tmp_path / "data" / "warehouse" / "shadow").glob("footfall*")) == []
    assert taken(core, tmp_path / "copy")["events"] == EVENTS + 1


def test_a_backup_goes_nowhere_but_into_a_new_folder_outside(core: Core, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "strange.partial").mkdir()
    for folder, why in (("full", "not empty"), ("/", "not empty"), ("data/copy", "lies in"), ("strange", "in the way")):
        with pytest.raises(Failed, match=why):
            taken(core, tmp_path / folder)
    assert (tmp_path / "full" / "file").exists()
    left = tmp_path / "copy.partial"  # as a killed backup leaves it
    left.mkdir()
    (left / "SHA256SUMS").touch()
    (left / "log.db").touch()
    (tmp_path / "copy").mkdir()
    frozen = tmp_path / "data" / "warehouse" / "shadow" / "footfall_dead" / "store"
    frozen.mkdir(parents=True)
    assert taken(core, tmp_path / "copy")["events"] == EVENTS
    assert not left.exists()
    assert not frozen.parent.exists()


def test_a_folder_that_has_nothing_gives_no_backup_of_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"  # such as where a disk was not mounted
    data.mkdir()
    refused = CliRunner().invoke(backup, [str(tmp_path / "copy"), "--data", str(data)])
    assert refused.exit_code == 1
    assert "nothing of Footfall" in refused.output
    assert list(data.iterdir()) == []
    assert not (tmp_path / "copy").exists()


def test_a_full_disk_is_told_and_nothing_stays_on_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = tmp_path / "copy"
    with ExitStack() as stack, pytest.raises(Failed, match="copy cannot be made: File too large"), in_words(folder):
        stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        with closing(Writer(folder)) as writer:
            assert list(writer.copy(tmp_path / "file", "one")) == []
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
            list(writer.copy(tmp_path / "file", "two"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_room_for_files_beside_the_parts_is_looked_at_too(core: Core, tmp_path: Path) -> None:
    with (tmp_path / "data" / "places.mmdb").open("wb") as file:
        file.truncate(64 << 20)
    begun = core.verbs["backup"](folder=str(tmp_path / "copy"))
    assert next(begun)["of"] > 64 << 20
    begun.close()


@pytest.mark.parametrize("linked", ["", "warehouse"])
def test_a_folder_behind_a_link_is_backed_up(core: Core, tmp_path: Path, linked: str) -> None:
    core.close()
    core.parts.close()
    there, place = tmp_path / "disk", tmp_path / "data" / linked
    place.rename(there)
    place.symlink_to(there)
    with Parts(settings_of(tmp_path / "data")) as parts, closing(Core(parts)) as behind:
        assert taken(behind, tmp_path / "copy")["events"] == EVENTS
    assert list((tmp_path / "copy" / "warehouse" / "store").rglob("checksums.txt"))
    lines = restore(settings_of(tmp_path / "new"), tmp_path / "copy", nullcontext())
    assert [line["equal"] for line in lines if "equal" in line] == [True] * 3


def test_numbers_are_counted_as_of_the_moment_while_events_come(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts(frozen: Snapshot) -> Iterator[tuple[Path, str]]:
        fill(core, EVENTS)  # nobody waits for what comes after the moment
        yield from real(frozen)

    def refused(*_: object) -> None:
        raise AssertionError("counted in the process that loads")

    real = Snapshot.parts
    monkeypatch.setattr(Snapshot, "parts", parts)
    monkeypatch.setattr(proof, "amounts", refused)
    monkeypatch.setattr(proof, "digests", refused)
    assert taken(core, tmp_path / "copy")["events"] == EVENTS
    monkeypatch.undo()
    assert core.parts.warehouse.count_events() == 2 * EVENTS
    assert list((tmp_path / "data" / "warehouse" / "shadow").glob("footfall*")) == []
    core.close()
    core.parts.close()
    lines = list(restore(settings_of(tmp_path / "new"), tmp_path / "copy", nullcontext()))
    assert [line["equal"] for line in lines if "equal" in line] == [True] * 3


def test_what_cannot_be_counted_is_no_backup(core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(frozen: Snapshot, copied: Path) -> Path:
        root = real(frozen, copied)
        for path in root.rglob("*.sql"):
            path.unlink()
        return root

    real = Snapshot.opened
    monkeypatch.setattr(Snapshot, "opened", opened)
    with pytest.raises(Failed, match="cannot be counted"):
        taken(core, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_one_backup_at_a_time(core: Core, tmp_path: Path) -> None:
    first = core.verbs["backup"](folder=str(tmp_path / "one"))
    next(first)
    with pytest.raises(Failed, match="another backup"):
        taken(core, tmp_path / "two")
    first.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert taken(core, tmp_path / "two")["events"] == EVENTS


def test_retention_in_a_copied_log_waits_for_the_copied_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    url = f"sqlite://{file}?retention_every_ms=0"
    log, other = TopicPartition(TOPICS[0], 0), TopicPartition(TOPICS[0], 1)
    broker = SqliteBroker(url, clock_ns=lambda: T0 * 10**6)
    for topic in ALL_TOPICS:
        broker.create_topic(topic, 2, DAY)
    for number in range(20):
        broker.publish([record(event(number, visitor=number))])
    ends = [broker.bounds(each) for each in (log, other)]
    assert ends[0] is not None
    assert ends[1] is not None
    for each, bounds in zip((log, other), ends, strict=True):
        broker.remember(GROUP, each, bounds.last)
    broker.close()

    taken_upto = Position((ends[0].first.order[0] + 2,), ends[0].first.incarnation)
    assert rewind(file, GROUP, [TOPICS[0]], {TOPICS[0]: {"0": str(taken_upto)}}) == []
    late = SqliteBroker(url, clock_ns=lambda: (T0 + 9 * DAY) * 10**6)
    while late.retain():
        pass
    kept = [late.bounds(each) for each in (log, other)]
    assert kept[0] is not None
    assert kept[0].first.order[0] == taken_upto.order[0] + 1
    assert kept[1] == ends[1]  # of which the checkpoint has nothing
    late.close()

    before = sqlite3.connect(file).execute("SELECT * FROM remembered").fetchall()
    gone = Position((ends[0].first.order[0],), ends[0].first.incarnation)
    (said,) = rewind(file, GROUP, [TOPICS[0]], {TOPICS[0]: {"0": str(gone)}})
    assert said.startswith(f"{TOPICS[0]}/0 holds")
    (said,) = rewind(file, GROUP, [TOPICS[0]], {TOPICS[0]: {"0": str(Position(taken_upto.order, "other"))}})
    assert "made again" in said
    assert sqlite3.connect(file).execute("SELECT * FROM remembered").fetchall() == before
