"""What lies on this machine: each wrong state is made for real, and named with what to do."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from brokers.base import Record
from infra.doctor import folders
from infra.doctor.finding import Told, ok
from infra.settings import Settings
from ingest import sites
from ingest.spool import FolderSpool
from stores import connect_live

SITE = "example.com"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation whose salts and import keys were made by the product."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    made = Settings.load({"FOOTFALL_DATA": str(data)})
    sites.add(made.sites, SITE)
    live = connect_live(made.live)
    live.salt(today())
    live.import_key(SITE)
    live.close()
    return made


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def states(told: list[Told]) -> list[str]:
    return [each.state for each in told]


def test_whole_secrets_are_ok(settings: Settings) -> None:
    assert folders.secrets(settings, events_today=True) == [ok("2 salts and keys, whole")]
    assert list(folders.open_to_others(settings)) == []


def test_a_missing_salt_is_wrong_once_it_was_used(settings: Settings) -> None:
    for path in (settings.data / "live" / "salts").iterdir():
        path.unlink()
    assert states(folders.secrets(settings, events_today=False)) == ["ok"]
    (found,) = folders.secrets(settings, events_today=True)
    assert found.state == "wrong"
    assert f"the salt of today is missing in {settings.data}/live/salts" in found.finding


def test_a_salt_beyond_its_time_is_told(settings: Settings) -> None:
    old = settings.data / "live" / "salts" / (datetime.now(UTC) - timedelta(days=5)).date().isoformat()
    old.write_bytes(bytes(16))
    os.utime(old, (0, time.time() - 86_400))
    (found,) = folders.secrets(settings, events_today=False)
    assert (found.state, found.finding) == ("warning", f"{old} is older than 48 hours")


def test_a_key_that_is_cut_off_is_named(settings: Settings) -> None:
    key = settings.data / "live" / "keys" / f"{SITE}.key"
    key.write_bytes(b"short")
    (found,) = folders.secrets(settings, events_today=False)
    assert (found.state, found.finding) == ("wrong", f"{key} is damaged: it has 5 bytes instead of 20")


@pytest.mark.parametrize("name", ["", "sites.toml", "live/salts", f"live/keys/{SITE}.key"])
def test_what_others_may_read_is_named_with_the_command_that_closes_it(settings: Settings, name: str) -> None:
    path = settings.data / name
    path.chmod(0o755 if path.is_dir() else 0o644)
    (found,) = folders.open_to_others(settings)
    assert found.state == "wrong"
    assert found.remedy == f"chmod {'700' if path.is_dir() else '600'} {path}"


def left_behind(folder: Path, minutes: float) -> Path:
    """A spool file with a record, whose process died so long ago."""
    spool = FolderSpool(folder)
    spool.append([Record("footfall.pageview", b"key", b"value")])
    spool.close()
    (path,) = folder.glob("*.spool")
    born = int((time.time() - 60 * minutes) * 1000)
    aged = path.with_name(f"{born}-{path.name.partition('-')[2]}")
    path.rename(aged)
    return aged


@pytest.mark.parametrize(
    ("minutes", "runs", "state"), [(0, True, "ok"), (2, True, "warning"), (15, True, "wrong"), (15, False, "warning")]
)
def test_a_spool_is_judged_by_how_long_it_waits(tmp_path: Path, minutes: float, runs: bool, state: str) -> None:
    left_behind(tmp_path, minutes)
    (found,) = folders.spool(tmp_path, runs=runs)
    assert found.state == state
    assert "in 1 file wait for the broker" in found.finding


def test_bytes_that_were_kept_aside_and_a_file_that_is_none_are_named(tmp_path: Path) -> None:
    kept = tmp_path / "1-2-3.spool.damaged"
    kept.write_bytes(bytes(10))
    assert [told.state for told in folders.spool(tmp_path, runs=True)] == ["wrong"]
    kept.unlink()
    folder = tmp_path / f"{time.time_ns() // 1_000_000}-1-a.spool"
    folder.mkdir()
    (found, *_) = folders.spool(tmp_path, runs=True)
    assert (found.state, str(folder) in found.finding) == ("wrong", True)


def test_an_empty_spool_is_ok_and_none_is_made(tmp_path: Path) -> None:
    assert states(folders.spool(tmp_path / "spool", runs=True)) == ["ok"]
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize(
    ("text", "state", "part"),
    [
        (None, "warning", "every event is refused"),
        ("", "warning", "has no site"),
        ("[[site]\n", "wrong", "is not TOML"),
        ('[[site]]\ndomain = "a.example"\ntimezone = "Mars/Base"\n', "warning", "a.example"),
        ('[[site]]\ndomain = "a.example"\n', "ok", "1 site in"),
    ],
)
def test_the_sites_file(tmp_path: Path, text: str | None, state: str, part: str) -> None:
    path = tmp_path / "sites.toml"
    if text is not None:
        path.write_text(text)
    (found,) = folders.sites_file(path)
    assert found.state == state
    assert part in found.finding
    assert (found.remedy == "") == (state == "ok")


def test_a_file_from_the_future_is_named(settings: Settings) -> None:
    assert states(folders.clock(settings)) == ["ok"]
    log = settings.data / "log.db"
    log.touch()
    os.utime(log, (time.time() + 3_600,) * 2)
    (found,) = folders.clock(settings)
    assert found.state == "wrong"
    assert str(log) in found.finding


GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "files", "state"),
    [
        (50 * GIB, 10**6, "ok"),
        (GIB // 2, 10**6, "warning"),
        (GIB // 50, 10**6, "wrong"),
        (50 * GIB, 10, "wrong"),
    ],
)
def test_room_on_a_disk(tmp_path: Path, free: int, files: int, state: str) -> None:
    block = 4096
    numbers = (block, block, 100 * GIB // block, free // block, free // block, 10**7, files, files, 0, 255)
    found = folders.room_on(tmp_path, os.statvfs_result(numbers))
    assert found.state == state
    assert str(tmp_path) in found.finding


def test_the_disk_of_this_test_is_told(settings: Settings) -> None:
    assert len(folders.disk(settings)) == 1
