"""One contract, every adapter: a folder, S3 (moto's server), Redis (real)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stores
from stores import backends
from stores.base import CheckpointStore, Conflict, StoreUnreachable, Unreadable, Unusable
from tests.patience import patient


@pytest.fixture(params=["folder", "s3", "redis"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointStore]:
    match request.param:
        case "folder":
            url = f"file://{tmp_path}/state"
        case "s3":
            url = request.getfixturevalue("s3_url")
        case _:
            url = f"{request.getfixturevalue('redis_url')}?prefix={tmp_path.parent.name}-{tmp_path.name}:"
    opened = stores.connect_checkpoint(url)
    yield opened
    opened.close()


def test_a_value_is_there_after_its_first_swap(checkpoint: CheckpointStore) -> None:
    assert checkpoint.load("unit-0") is None
    version = checkpoint.swap("unit-0", b"one\ntwo\x00", None)
    assert checkpoint.load("unit-0") == (b"one\ntwo\x00", version)


def test_only_who_knows_the_version_swaps(checkpoint: CheckpointStore) -> None:
    first = checkpoint.swap("unit-0", b"1", None)
    with pytest.raises(Conflict, match=r"unit-0 was written by another process.*load it again"):
        checkpoint.swap("unit-0", b"2", None)
    second = checkpoint.swap("unit-0", b"2", first)
    with pytest.raises(Conflict):
        checkpoint.swap("unit-0", b"3", first)
    assert checkpoint.load("unit-0") == (b"2", second)


def test_a_version_never_comes_back(checkpoint: CheckpointStore) -> None:
    first = checkpoint.swap("unit-0", b"same", None)
    second = checkpoint.swap("unit-0", b"other", first)
    third = checkpoint.swap("unit-0", b"same", second)
    assert len({first, second, third}) == 3
    checkpoint.delete("unit-0")
    assert checkpoint.load("unit-0") is None
    with pytest.raises(Conflict):
        checkpoint.swap("unit-0", b"x", third)
    assert checkpoint.swap("unit-0", b"same", None) not in {first, second, third}


def test_segments_are_put_got_listed_and_deleted(checkpoint: CheckpointStore) -> None:
    data = bytes(range(256)) * 1000
    checkpoint.put("segments-0/a", data)
    checkpoint.put("segments-0/b", b"")
    checkpoint.put("segments-1/a", b"x")
    checkpoint.put("segments-0/a", data)
    checkpoint.swap("unit-0", b"v", None)
    assert checkpoint.get("segments-0/a") == data
    assert checkpoint.get("segments-0/b") == b""
    assert checkpoint.names("segments-0/") == ["segments-0/a", "segments-0/b"]
    assert checkpoint.names() == ["segments-0/a", "segments-0/b", "segments-1/a", "unit-0"]
    checkpoint.delete("segments-0/a")
    checkpoint.delete("segments-0/a")
    with pytest.raises(Unreadable, match=r"the segment is missing.*replay"):
        checkpoint.get("segments-0/a")


def test_what_is_set_aside_counts_no_more_and_is_kept(checkpoint: CheckpointStore) -> None:
    checkpoint.swap("unit-0", b"v", None)
    checkpoint.put("segments-0/a", b"data")
    value, segment = checkpoint.set_aside("unit-0"), checkpoint.set_aside("segments-0/a")
    assert checkpoint.load("unit-0") is None
    assert checkpoint.names() == sorted([value, segment])
    assert checkpoint.get(segment) == b"data"
    assert value.startswith("damaged/unit-0-")
    checkpoint.swap("unit-0", b"new", None)
    again = checkpoint.set_aside("unit-0")
    assert again != value
    checkpoint.set_aside("unit-0")
    assert checkpoint.names("damaged/unit-0") == sorted([value, again])


@pytest.mark.parametrize("name", ["", "/x", "a/../../x", "..", "a b", "a//b", "x\0", "a/."])
def test_a_name_stays_in_its_place(checkpoint: CheckpointStore, name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        checkpoint.put(name, b"x")


def test_many_processes_count_to_an_exact_number(checkpoint: CheckpointStore, request: pytest.FixtureRequest) -> None:
    script = """
import sys, stores
from stores.base import Conflict
checkpoint, won = stores.connect_checkpoint(sys.argv[1]), 0
while won < 25:
    found = checkpoint.load("count")
    value, version = found if found else (b"0", None)
    try:
        checkpoint.swap("count", str(int(value) + 1).encode(), version)
        won += 1
    except Conflict:
        pass
checkpoint.close()
"""
    url = request.node.funcargs["checkpoint"].url
    runs = [subprocess.Popen([sys.executable, "-c", script, url], cwd=Path(__file__).parents[2]) for _ in range(3)]
    assert [run.wait(patient(60)) for run in runs] == [0, 0, 0]
    found = checkpoint.load("count")
    assert found is not None
    assert found[0] == b"75"


def test_a_write_cut_short_is_neither_read_nor_listed(tmp_path: Path) -> None:
    checkpoint = stores.connect_checkpoint(str(tmp_path))
    checkpoint.swap("unit-0", b"whole", None)
    (tmp_path / ".unit-0.0123abcd.partial").write_bytes(b"ha")
    assert checkpoint.names() == ["unit-0"]
    (tmp_path / "unit-1").write_bytes(b"no version line")
    with pytest.raises(Unreadable, match="unit-1: it has no version line"):
        checkpoint.load("unit-1")


def test_wrong_places_say_what_to_do(tmp_path: Path, s3_endpoint: str) -> None:
    with pytest.raises(Unusable, match="a checkpoint lies in a folder"):
        stores.connect_checkpoint("ftp://x/y")
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match=r"cannot be made a folder.*give one that can be written"):
        stores.connect_checkpoint(str(tmp_path / "file" / "below"))
    with pytest.raises(Unusable, match="three slashes"):
        stores.connect_checkpoint("file://folder/x")
    missing = stores.connect_checkpoint(f"s3://nosuchbucket/x?endpoint={s3_endpoint}")
    with pytest.raises(Unusable, match="look at the bucket's name"):
        missing.swap("unit-0", b"", None)
    missing.close()
    away = stores.connect_checkpoint("redis://:secret@127.0.0.1:1/0")
    with pytest.raises(StoreUnreachable, match=r"Redis at redis://:\*\*\*@127.0.0.1:1/0 does not answer.*Retry"):
        away.load("unit-0")
    away.close()


def test_a_damaged_value_is_replaced_in_one_step_and_kept(checkpoint: CheckpointStore) -> None:
    version = checkpoint.swap("unit-0", b"spoiled", None)
    mended = checkpoint.mend("unit-0", b"whole", version)
    assert checkpoint.load("unit-0") == (b"whole", mended)
    [kept] = checkpoint.names("damaged/")
    assert kept.startswith("damaged/unit-0-")
    with pytest.raises(Conflict):
        checkpoint.mend("unit-0", b"again", version)
    with pytest.raises(Conflict):
        checkpoint.mend("unit-0", b"again", None)
    assert checkpoint.load("unit-0") == (b"whole", mended)


def test_what_is_no_value_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = stores.connect_checkpoint(str(tmp_path))
    (tmp_path / "unit-0").write_bytes(b"no version line")
    seen: list[str] = []
    write_file = backends.write_file

    def write(path: Path, data: bytes) -> None:
        with pytest.raises(Unreadable):
            checkpoint.load("unit-0")
        seen.append(path.name)
        write_file(path, data)

    monkeypatch.setattr(backends, "write_file", write)
    version = checkpoint.mend("unit-0", b"whole", None)
    assert (checkpoint.load("unit-0"), seen[-1]) == ((b"whole", version), "unit-0")
    assert [checkpoint.get(name) for name in checkpoint.names("damaged/")] == [b"no version line"]
    with pytest.raises(Conflict):
        checkpoint.mend("unit-0", b"again", None)
