"""The files of an import: packed in any way, in any encoding, by patterns, and in the order of their rotation."""

from __future__ import annotations

import bz2
import codecs
import copy
import gzip
import io
import itertools
import lzma
import os
import queue
import sys
import tarfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.logs.files import ImportFailed, LogFile, detected, lines_of, named, opened
from tests.patience import patient

LINE = '192.0.2.1 - - [01/Jun/2025:12:00:00 +0000] "GET /caf\u00e9 HTTP/1.1" 200 12 "-" "Mozilla/5.0 \u00fc"\n'
TEXT = (LINE * 40_000).encode()  # some MB, so that it comes in several pieces


def in_two(data: bytes, first: int) -> bytes:
    """Pack the first bytes by themselves, and the others."""
    return gzip.compress(data[:first]) + gzip.compress(data[first:])


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "two frames of zstd": lambda data: b"".join(
        zstandard.ZstdCompressor().compress(part) for part in (data[:100_000], data[100_000:])
    ),
    "two members of gzip": lambda data: gzip.compress(data[:100_000]) + gzip.compress(data[100_000:]),
    "UTF-8 with a mark": lambda data: codecs.BOM_UTF8 + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "UTF-16, the other way round": lambda data: codecs.BOM_UTF16_BE + data.decode().encode("utf-16-be"),
    "UTF-16 without a mark": lambda data: data.decode().encode("utf-16-le"),
    "gzip of UTF-16 without a mark": lambda data: gzip.compress(data.decode().encode("utf-16-be")),
    "gzip of gzip": lambda data: gzip.compress(gzip.compress(data)),
    "bzip2 of two gzip": lambda data: bz2.compress(gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "two members of gzip, of which the first holds a byte of gzip": lambda data: in_two(gzip.compress(data), 1),
    "two members of gzip, of which the first is empty": lambda data: in_two(gzip.compress(data), 0),
    "two members of gzip with a mark across them": lambda data: in_two(codecs.BOM_UTF8 + data, 1),
    "gzip of UTF-16": lambda data: gzip.compress(data.decode().encode("utf-16")),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_file_has_the_same_lines_however_it_is_packed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(PACKED[name](TEXT))
    with opened(str(path)) as file:
        shape, pieces = detected(file)
        assert (shape, b"".join(pieces), file.fault) == ("combined", TEXT, None)


def unpacked(name: str, packed: bytes) -> bytes:
    """What comes out of one frame that may break off, as far as the library itself gives it out."""
    begin: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.decompressobj(31),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lzma.LZMADecompressor,
        "zstd": zstandard.ZstdDecompressor().decompressobj,
        "lz4": lz4.frame.LZ4FrameDecompressor,
    }
    return bytes(begin[name]().decompress(packed))


@pytest.mark.parametrize("missing", [9, 400])
@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd", "lz4"])
def test_a_packed_file_that_breaks_off_has_every_whole_line_before_it(tmp_path: Path, name: str, missing: int) -> None:
    path = tmp_path / "access.log"
    text = b"".join(b"%d " % number + LINE.encode() for number in range(30_000))
    packed = PACKED[name](text)[:-missing]
    path.write_bytes(packed)
    whole = unpacked(name, packed).rpartition(b"\n")
    with opened(str(path)) as file:
        assert b"".join(file) == whole[0] + whole[1]
        assert file.fault is not None


def test_a_short_file_that_breaks_off_has_every_line_before_it(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(in_two(LINE.encode(), 1)[:-8])  # without checksum and length
    with opened(str(path)) as file:
        assert (list(file), isinstance(file.fault, EOFError)) == ([LINE.encode()], True)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd", "lz4"])
@pytest.mark.parametrize(("behind", "remarks"), [(b"hello", 1), (b"h", 1), (b"\0" * 9_000, 0), (b"\0" * 8 + b"x", 1)])
def test_bytes_behind_packed_data_cost_no_line(tmp_path: Path, name: str, behind: bytes, remarks: int) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(PACKED[name](TEXT) + behind)
    with opened(str(path)) as file:
        assert (b"".join(file), file.fault, len(file.remarks)) == (TEXT, None, remarks)


def test_a_second_member_that_breaks_off_in_its_first_byte_is_no_remark(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(gzip.compress(TEXT) + b"\x1f")
    with opened(str(path)) as file:
        assert (b"".join(file), isinstance(file.fault, EOFError), file.remarks) == (TEXT, True, [])


def test_a_zip_archive_is_the_files_in_it(tmp_path: Path) -> None:
    path = tmp_path / "log.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("logs")
        for name in ("logs/access.log", "__MACOSX/logs/._access.log", "logs/access.log.2.gz", "logs/access.log.1"):
            archive.writestr(name, gzip.compress(TEXT) if name.endswith("gz") else TEXT)
    names = named([str(tmp_path / "*.zip"), str(path)])
    assert names == [f"{path}/logs/{name}" for name in ("access.log.2.gz", "access.log.1", "access.log")]
    for name in names:
        with opened(name) as file:
            shape, lines = detected(file)
            assert (shape, b"".join(lines), file.fault) == ("combined", TEXT, None)
    with pytest.raises(ImportFailed, match="no such file is in the archive"):
        opened(f"{path}/nothing")
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        damaged[archive.infolist()[-1].header_offset + 2_000] ^= 0xFF
    path.write_bytes(damaged)
    with opened(names[0]) as whole, opened(names[1]) as broken:
        assert (b"".join(whole), whole.fault) == (TEXT, None)
        list(broken)
        assert broken.fault is not None


def test_files_of_one_name_in_a_zip_archive_are_each_read(tmp_path: Path) -> None:
    path = tmp_path / "log.zip"
    members = ["access.log", "access.log (2)", "access.log", "access.log (2)", "access.log"]
    with zipfile.ZipFile(path, "w") as archive:
        for number, member in enumerate(members):
            with warnings.catch_warnings(action="ignore"):
                archive.writestr(member, f"{number}")
    names = named([str(path)])
    assert names[:2] == [f"{path}/access.log", f"{path}/access.log (2)"]
    found = []
    for name in names:
        with opened(name) as file:
            found += list(file)
    assert sorted(found) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_zip_archive_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.log", TEXT[:5_000])
        archive.writestr("b.log", TEXT[:5_000])
        archive.filelist[0].flag_bits = 1  # encrypted
    with pytest.raises(ImportFailed, match=r"a\.log cannot be read: .*encrypted"):
        opened(named([str(path)])[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])  # without its end
    assert named([str(path)]) == [str(path)]
    with opened(str(path)) as file, pytest.raises(ImportFailed, match=r"log\.zip: it is packed as zip"):
        detected(file)
    path.write_bytes(whole)
    monkeypatch.setattr("ingest.logs.archives._MOST", 1)
    with pytest.raises(ImportFailed, match="more than 1 files are in it"):
        named([str(path)])


def test_a_zip_archive_whose_files_overlap_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.log", TEXT)
        for number in range(50):  # each is the first once more
            again = copy.copy(archive.filelist[0])
            again.filename = again.orig_filename = f"{number}.log"
            archive.filelist.append(again)
    with pytest.raises(ImportFailed, match="its files overlap"):
        named([str(path)])


def test_rotated_files_come_oldest_first_and_patterns_are_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dated = ["b.log-20250601.xz", "b.log-20250602", "b.log"]
    for name in ["access.log", "access.log.1", "access.log.2.gz", "access.log.10.gz", "u_ex1.log", "u_ex2.log", *dated]:
        Path(name).touch()
    rotated = ["access.log.10.gz", "access.log.2.gz", "access.log.1", "access.log"]
    assert named(["access.log*"]) == rotated
    assert named(["access.log", "access.log.1", "access.log.*.gz"]) == rotated
    assert named(["b.log", "b.log-*"]) == dated
    assert named(["u_ex2.log", "-", "u_ex*.log"]) == ["u_ex2.log", "-", "u_ex1.log"]
    with pytest.raises(ImportFailed, match=r"nothing\*: no file has such a name"):
        named(["nothing*"])
    Path("a[1].log").touch()
    assert named(["a[1].log"]) == ["a[1].log"]


def tar(path: Path, files: list[tuple[str, bytes]], pack: str) -> None:
    with tarfile.open(path, f"w:{pack}") as archive:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("logs")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("pack", ["", "gz", "xz"])
def test_a_tar_archive_is_the_files_in_it(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "backup"
    files = ["logs/access.log", "logs/._access.log", "logs/access.log.2.gz", "logs/access.log.1", "logs/access.log"]
    contents = {name: gzip.compress(TEXT) if name.endswith("gz") else TEXT for name in files}
    tar(path, [(name, contents[name]) for name in files], pack)
    names = named([str(path)])
    assert names == [f"{path}/logs/access.log{end}" for end in (".2.gz", ".1", "", " (2)")]
    for name in names:
        with opened(name) as file:
            shape, lines = detected(file)
            assert (shape, b"".join(lines), file.fault) == ("combined", TEXT, None)
    with opened(f"{path}/logs/nothing") as file:
        assert (list(file), str(file.fault)) == ([], "no such file is in the archive")


@pytest.mark.parametrize("pack", ["", "gz"])
def test_a_tar_archive_that_breaks_off_has_all_that_came_before(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "backup.tar"
    tar(path, [("a.log", LINE.encode()), ("b.log", os.urandom(300_000))], pack)
    path.write_bytes(path.read_bytes()[:200_000])
    names = named([str(path)])
    assert names == [f"{path}/a.log", f"{path}/b.log", str(path)]
    with opened(names[0]) as whole, opened(names[1]) as broken, opened(names[2]) as archive:
        assert (list(whole), whole.fault) == ([LINE.encode()], None)
        list(broken)
        assert broken.fault is not None
        with pytest.raises(ImportFailed, match=r"backup\.tar: it is a tar archive: unpack it first"):
            list(archive)


@pytest.mark.parametrize("pack", ["plain", "gzip"])
@pytest.mark.parametrize(
    ("first", "what"), [(b"PAR1\0", "Parquet"), (b"<!doctype HTML>\n", "a page of HTML"), (b"Obj\x01", "Avro")]
)
def test_what_is_no_text_is_told(tmp_path: Path, pack: str, first: bytes, what: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(PACKED[pack](first * 100))
    with opened(str(path)) as file, pytest.raises(ImportFailed, match=f"log: it is {what}"):
        detected(file)


def test_a_tar_archive_that_would_be_read_for_ever_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "backup.tar"
    tar(path, [(f"{number}.log", LINE.encode()) for number in range(20)], "gz")
    assert len(named([str(path)])) == 20
    monkeypatch.setattr("ingest.logs.archives._MOST_READ", 100_000)
    monkeypatch.setattr("ingest.logs.archives._MOST_KEPT", 0)
    os.utime(path, (0, 0))  # the list that is kept is of another time
    with pytest.raises(ImportFailed, match="too large to be read once for each file"):
        named([str(path)])


def test_a_folder_is_told_and_a_pattern_goes_into_all_of_them(tmp_path: Path) -> None:
    names = [tmp_path / folder / "access.log" for folder in ("a.example/2024", "a.example", "b.example")]
    for path in names:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert named([f"{tmp_path}/**/access.log"]) == [str(path) for path in names]
    with pytest.raises(ImportFailed, match=r"a\.example is a folder: name its files, as in '.*/\*access\*'"):
        opened(str(tmp_path / "a.example"))


@pytest.mark.parametrize("count", [5_000, 70_000, 999_990, 3_000_000])
@pytest.mark.parametrize("pack", ["plain", "gzip"])
def test_zeros_before_a_line_are_no_part_of_it(tmp_path: Path, pack: str, count: int) -> None:
    path = tmp_path / "access.log"
    hole = b"\0" * count  # as rotation by `copytruncate` leaves it, once or again
    path.write_bytes(PACKED[pack](hole + LINE.encode() * 2 + hole + LINE.encode() + hole + b"\n" + hole))
    with opened(str(path)) as file:
        shape, pieces = detected(file)
        assert (shape, b"".join(pieces), file.fault) == ("combined", LINE.encode() * 3 + b"\n", None)


def test_a_line_that_is_too_long_is_one_line_behind_zeros_too(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"\0" * 900_000 + b"x" * 3_000_000 + b"\n" + LINE.encode())
    with opened(str(path)) as file:
        lines = [line for piece in file for line in lines_of(piece)]
        assert [line[-100:] for line in lines] == [b"x" * 100, LINE.encode()[-101:-1]]


class Arriving(io.RawIOBase):
    """Bytes that come some at a time, as of a pipe."""

    def __init__(self, data: bytes, counts: list[int]) -> None:
        self._data = data
        self._counts = itertools.cycle(counts)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(next(self._counts), len(buffer), len(self._data))
        buffer[:count], self._data = self._data[:count], self._data[count:]
        return count


part = st.one_of(
    st.sampled_from([b"", b"a", b"\r", b"\0", b"\0\0\0", b"a\0", b"line 7"]),
    st.sampled_from([999_998, 999_999, 1_000_000, 1_000_001, 2_500_000]).map(lambda count: b"x" * count),
)


@given(
    st.lists(st.lists(part, max_size=3).map(b"".join), max_size=6).map(b"\n".join),
    st.lists(st.sampled_from([5, 7, 300, 900_000, 1_000_000]), min_size=1),
)
@settings(max_examples=60, deadline=None)
def test_lines_are_the_same_however_their_bytes_arrive(data: bytes, counts: list[int]) -> None:
    counts = [*counts, 400_000]
    *ended, last = (line.lstrip(b"\0") for line in data.split(b"\n"))
    expected = [line[:1_000_000] for line in ended]
    file = LogFile("log", io.BufferedReader(Arriving(data, counts)), None)
    pieces = list(file)
    assert [line for piece in pieces for line in lines_of(piece)] == expected + [last[:1_000_000]] * bool(last)
    assert all(pieces)


def test_stdin_is_closed_while_a_thread_waits_for_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = os.pipe()
    read = queue.SimpleQueue[bytes]()
    with os.fdopen(theirs) as stdin, os.fdopen(ours, "wb", 0) as pipe:
        monkeypatch.setattr(sys, "stdin", stdin)
        file = opened("-")

        def reading() -> None:
            for piece in file:
                read.put(piece)

        waiting = threading.Thread(target=reading, daemon=True)
        waiting.start()
        pipe.write(LINE.encode())
        assert read.get(timeout=patient(60)) == LINE.encode()
        closing = threading.Thread(target=file.__exit__, daemon=True)
        closing.start()
        for thread in (closing, waiting):
            thread.join(patient(20))
        still = [thread.is_alive() for thread in (closing, waiting)]
    assert (still, read.empty()) == ([False, False], True)


@pytest.mark.parametrize("pack", ["plain", "gzip"])
def test_a_named_pipe_is_read_once(tmp_path: Path, pack: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_bytes, args=(PACKED[pack](TEXT),), daemon=True)
    assert named([str(pipe)]) == [str(pipe)]
    writing.start()
    with opened(str(pipe)) as file:
        shape, pieces = detected(file)
        assert (shape, b"".join(pieces), file.fault, file.size) == ("combined", TEXT, None, None)
    writing.join()
