"""What is kept is its user's alone, whatever the umask that Footfall is started with."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from tests.e2e.harness import SITE, Up, command, footfall, until
from tests.e2e.ingesting import ingesting

# As a shell of nearly everybody starts it.
PROGRAM = ["sh", "-c", 'umask 022; exec "$@"', "sh", *command()]


def modes(root: Path) -> dict[str, str]:
    """Each file and folder that somebody else may read, with its mode."""
    found = {}
    for path in [root, *root.rglob("*")]:
        with suppress(FileNotFoundError):  # a part that was merged meanwhile
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                found[str(path)] = stat.filemode(mode)
    return found


def test_everything_in_the_data_folder(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", "--site", SITE, program=PROGRAM)
    try:
        up.wait_ready()
        assert up.collect()["accepted"] == 1
        up.shows({"pageviews": 1})
        for words in (("site", "add", "new.example"), ("archive", "flush")):
            done = footfall(*words, "--data", str(up.data))
            assert done.returncode == 0, done.stderr
        until(lambda: list((up.data / "archive").rglob("*.parquet")), "a file is archived")
        kept = {path.name for path in up.data.iterdir()}
        assert {"archive", "checkpoint", "live", "log.db", "owner.json", "sites.toml", "warehouse"} <= kept
        assert modes(up.data) == {}
        assert up.stop() == 0
    finally:
        up.end()
    assert modes(up.data) == {}
    up.data.chmod(0o755)
    again = Up(up.data, program=PROGRAM)
    try:
        again.wait_ready()
        assert f"{up.data} was open to other users (0755) and is closed to them now" in again.said()
        assert modes(up.data) == {}
    finally:
        again.end()


def test_the_spool_and_a_folder_that_is_not_ours_to_close(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    with ingesting(folder, {"FOOTFALL_BROKER": "kafka://127.0.0.1:9?timeout_ms=3000"}) as ingest:
        folder.chmod(0o755)
        added = footfall("site", "add", SITE, "--data", str(folder))
        assert added.returncode == 0, added.stderr
        until(ingest.takes, "somebody listens")
        assert ingest.collect({"site": SITE, "type": "pageview", "url": f"https://{SITE}/"})["accepted"] == 1
        assert list((folder / "spool").glob("*.spool"))
        others = modes(folder)
    assert set(others) == {str(folder), str(folder / "output")}  # both are the test's own
    assert "is open to other users" in (folder / "output").read_text(encoding="utf-8")


def test_an_archive_is_as_readable_as_the_folder_that_it_was_given(tmp_path: Path) -> None:
    archive = tmp_path / "parquet"
    archive.mkdir()
    archive.chmod(0o2750)
    up = Up(tmp_path / "data", "--site", SITE, "--archive", str(archive), program=PROGRAM)
    try:
        up.wait_ready()
        up.collect()
        assert footfall("archive", "flush", "--data", str(up.data), "--archive", str(archive)).returncode == 0
        files = until(lambda: list(archive.rglob("*.parquet")), "a file is archived")
        for file in files:
            assert file.stat().st_mode & 0o777 == 0o640
            for folder in file.relative_to(archive).parents:
                assert (archive / folder).stat().st_mode & 0o7777 == 0o2750, folder
        assert modes(up.data) == {}
    finally:
        up.end()
    assert os.access(archive, os.W_OK)
