"""`footfall backup` beside a busy `up`, and `footfall restore` elsewhere: the sender's own account is the truth.

A sender keeps sending while the backup is taken, and notes what was answered with 2xx and when. What was before the
backup began has to be there after the restore, whatever became of the old folder.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.crashing import Crash, Crashes
from tests.e2e.harness import PATIENCE, SITE, Up, command, environment, footfall, running, secret_key, until
from tests.e2e.proof import assert_rollups_equal_a_group_by, in_log, replay

pytestmark = pytest.mark.slow

BATCH = 25
VISITORS = 40


def numbered(number: int) -> dict[str, Any]:
    """The page view of a number."""
    return {
        "site": SITE,
        "type": "pageview",
        "url": f"https://{SITE}/{number}",
        "id": f"n{number}",
        "visitor": f"v{number % VISITORS}",
    }


class Traffic:
    """Sends page views with numbers, a batch after the other, until `end`; `acked` is how many were answered."""

    def __init__(self, up: Up) -> None:
        self.acked = 0
        self._up = up
        self._key = secret_key(up.data)
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._failed:
            raise self._failed[0]

    def reach(self, count: int) -> None:
        until(lambda: self.acked >= count or self._failed, f"{count} events are taken")

    def _send(self) -> None:
        try:
            while not self._stop.is_set():
                answer = self._up.send([numbered(self.acked + n) for n in range(BATCH)], self._key)
                assert answer["accepted"] == BATCH
                self.acked += BATCH
        except BaseException as error:
            self._failed.append(error)


def backup(data: Path, folder: Path, status: int = 0) -> dict[str, Any]:
    done = footfall("backup", str(folder), "--data", str(data), "--json")
    assert done.returncode == status, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1])) if status == 0 else {"error": done.stderr}


def restored(folder: Path, data: Path) -> list[dict[str, Any]]:
    done = footfall("restore", str(folder), "--data", str(data), "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def numbers_in(up: Up) -> set[int]:
    """The numbers of the stored page views; each is stored once."""
    rows = up.sql("SELECT toUInt32(substring(path, 2)) AS n FROM events WHERE type = 'pageview'")
    found = [int(row["n"]) for row in rows]
    assert len(found) == len(set(found))
    return set(found)


def flip(file: Path) -> None:
    """Change one bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_backup_beside_traffic_has_all_that_was_acknowledged_before_it(start: Start, tmp_path: Path) -> None:
    up = start("--site", SITE).wait_ready()
    with Traffic(up) as traffic:
        traffic.reach(1_000)
        until(lambda: numbers_in(up), "some of them are loaded")
        before = traffic.acked
        told = backup(up.data, tmp_path / "copy")
        traffic.reach(traffic.acked + 200)  # and `up` goes on
    up.shows({"pageviews": traffic.acked})
    up.kill()
    shutil.rmtree(up.data)

    *days, last = restored(tmp_path / "copy", tmp_path / "new")
    assert [line.pop("equal") for line in days] == [True] * len(told["days"])
    assert days == told["days"]
    assert last["events"] == told["events"]
    in_copy = in_log(tmp_path / "copy" / "log.db", "footfall.pageview")
    assert before <= in_copy <= traffic.acked
    with running(tmp_path / "new") as again:
        # What came while it was copied is there up to a point: one sender's events are in one order.
        again.shows({"pageviews": in_copy, "visitors": VISITORS})
        assert numbers_in(again) == set(range(in_copy))
        assert_rollups_equal_a_group_by(again)
        again.send([numbered(in_copy)], secret_key(again.data))
        again.shows({"pageviews": in_copy + 1, "visitors": VISITORS})
        for source in ("broker", "archive"):
            reports = replay(again.data, "--source", source)
            assert [report["equal"] for report in reports] == [True] * len(reports)
        assert again.stop() == 0


def test_a_backup_that_was_broken_off_leaves_nothing_and_up_goes_on(start: Start, tmp_path: Path) -> None:
    up = start("--site", SITE).wait_ready()
    up.collect()
    up.shows({"pageviews": 1})
    large = up.data / "large"  # a file of the operator's own, which takes long to copy
    with large.open("wb") as file:
        file.truncate(4 << 30)
    folder, partial = tmp_path / "copy", tmp_path / "copy.partial"

    def copying() -> subprocess.Popen[bytes]:
        line = [*command(), "backup", str(folder), "--data", str(up.data)]
        started = subprocess.Popen(line, env=environment(), stderr=subprocess.DEVNULL)
        until(lambda: (partial / "beside" / "large").exists(), "it is being copied")
        return started

    def interrupted() -> None:
        taking = copying()
        taking.send_signal(signal.SIGINT)
        assert taking.wait(PATIENCE) == 130
        until(lambda: not partial.exists(), "nothing is left of it")
        assert list(up.data.glob("warehouse/shadow/footfall*")) == []

    interrupted()
    up.collect()
    up.shows({"pageviews": 2})
    taking = copying()
    up.kill()
    assert taking.wait(PATIENCE) == 1
    assert partial.exists()
    (partial / "beside" / "large").unlink()  # what the wait in `copying` is for
    interrupted()
    assert not folder.exists()
    large.unlink()
    assert backup(up.data, folder)["events"] == 2


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A backup, taken without `up` from a folder whose `up` was killed."""
    folder = tmp_path_factory.mktemp("backup")
    up = Up(folder / "data", "--site", SITE).wait_ready()
    up.send([numbered(n) for n in range(50)], secret_key(up.data))
    up.kill()
    assert backup(up.data, folder / "copy")["backup"] == str(folder / "copy")
    yield folder / "copy"


def refused(folder: Path, data: Path) -> str:
    """What a restore says that writes nothing."""
    done = footfall("restore", str(folder), "--data", str(data))
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def test_a_flipped_bit_is_named_and_nothing_is_written(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "copy")
    flip(tmp_path / "copy" / "log.db")
    said = refused(tmp_path / "copy", tmp_path / "new")
    assert "log.db (its bytes are not those of its checksum)" in said
    assert not (tmp_path / "new").exists()


def test_a_missing_file_is_named_and_nothing_is_written(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "copy")
    part = next((tmp_path / "copy" / "warehouse" / "store").rglob("checksums.txt"))
    part.unlink()
    assert f"{part.relative_to(tmp_path / 'copy')} (No such file" in refused(tmp_path / "copy", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_anything_is_not_written_over(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "sites.toml").touch()
    assert backup(tmp_path, copy, status=1)["error"].count("not empty")
    assert "is not empty (copy)" in refused(copy, copy.parent)


def test_what_was_restored_opens_where_it_is(copy: Path, tmp_path: Path) -> None:
    restored(copy, tmp_path / "new")
    modes = {path: path.stat().st_mode & 0o077 for path in tmp_path.joinpath("new").rglob("*") if path.is_file()}
    assert {path for path, mode in modes.items() if mode} == set()
    assert copy.stat().st_mode & 0o777 == 0o700
    with running(tmp_path / "new") as up:
        up.shows({"pageviews": 50})
        assert secret_key(up.data) == secret_key(copy)


@pytest.mark.parametrize(
    "where", [("infra.backup.restore:_proved", "after"), ("infra.backup.restore:put_in_place", "before")]
)
def test_a_restore_that_was_killed_is_whole_or_none(copy: Path, tmp_path: Path, where: tuple[str, str]) -> None:
    crashes, data, (point, when) = Crashes(tmp_path / "crashes", [where[0]]), tmp_path / "new", where
    crashes.order(Crash(point, when))
    killed = footfall("restore", str(copy), "--data", str(data), env=crashes.env)
    assert (killed.returncode, crashes.happened()) == (-signal.SIGKILL, True)
    assert f"a restore to {data} was broken off" in footfall("doctor", "--json", "--data", str(data)).stdout
    if when == "after":  # nothing counts yet
        done = footfall("up", "--data", str(data), "--port", "0", "--dashboards-port", "0")
        assert (done.returncode, "run `footfall restore` again" in done.stderr) == (1, True), done.stderr
        restored(copy, data)
    with running(data) as up:
        up.shows({"pageviews": 50})
        assert secret_key(up.data) == secret_key(copy)
    assert not (data / ".restored").exists()


def test_a_server_is_refused_and_the_guide_named(tmp_path: Path) -> None:
    for verb in ("backup", "restore"):
        done = footfall(verb, str(tmp_path / "copy"), "--data", str(tmp_path), "--broker", "kafka://nobody:9092")
        assert done.returncode == 1
        assert "--broker (FOOTFALL_BROKER) is kafka:" in done.stderr
        assert "docs/backup.md" in done.stderr
