"""The files in a zip or tar archive, each by a name of its own behind the archive's: `logs.tar.gz/log/access.log`.

A tar archive is listed once, and the list is kept with where each file begins. What is unpacked is kept with it where
that is little; elsewhere it is unpacked for each file up to its end, for what is packed cannot be read elsewhere."""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

from ingest.logs.packing import ZIP, ImportFailed, faults, is_tar, unpacked
from ingest.logs.streams import Pieces

_MOST = 5_000  # files of an archive
_MOST_ENTRIES = 100_000  # with its folders and links
_MOST_READ = 20 << 30  # bytes of a tar archive, for all of its files together
_MOST_KEPT = 32 << 20  # bytes of a tar archive that are kept unpacked
_MOST_OF_HEADERS = 1 << 20  # bytes before a file, with what pax and GNU put there
_NO_HEADER = re.compile(rb"[0-9]{1000}")  # `tarfile` takes the square of their number of steps
_LONGEST_NAME = 4_096  # characters: no system has longer ones
_SHOWN = 3  # names of what is left out
_PIECE = 1 << 18  # bytes
_NO_LOGS = re.compile(r".*/|(?:.*/)?(?:__MACOSX/.*|\.DS_Store|\._[^/]*)")  # folders, and what macOS adds


def members(name: str) -> list[str]:
    """Return the names of the files in an archive; that of the file itself where it is none.

    Raises ImportFailed where there is no file in it, where they are too many, or the archive is made to be unpacked for
    ever."""
    try:
        listed = _of_zip(name) if _is_zip(name) else _tar(name)
    except faults():  # opening it tells what is wrong
        return [name]
    if listed is None:
        return [name]
    if not listed.files and not listed.is_broken:
        links = "" if _is_zip(name) else ": pack it with `tar -h`, which follows links"
        raise ImportFailed(f"{name} holds no files, only links and folders{links}")
    names = [f"{name}/{its}" for its in listed.files]
    return [*names, name] if listed.is_broken else names


def in_archive(name: str) -> tuple[IO[bytes] | io.RawIOBase, int | None, list[str]]:
    """Open a file in an archive; return its bytes, how many these are if that tells how far one is, and remarks.

    Raises ImportFailed where it cannot be read."""
    slashes = (slash.start() for slash in re.finditer("/", name))
    end = next(slash for slash in slashes if slash and Path(name[:slash]).is_file())
    path, member = name[:end], name[end + 1 :]
    try:
        if not _is_zip(path):
            listed = _tar(path)
            return Pieces(_pieces_in_tar(path, listed, member)), None, _remarks(listed, member)
        with zipfile.ZipFile(path) as archive:  # its file stays open as long as the member is
            infos = archive.infolist()
            info = infos[_each_by_name([info.filename for info in infos]).index(member)]
            return archive.open(info), info.file_size, _remarks(_of_zip(path), member)
    except ValueError as error:
        raise ImportFailed(f"{name} cannot be read: no such file is in the archive") from error
    except faults() as error:
        raise ImportFailed(f"{name} cannot be read: {error}. Unpack it first") from error


class _File(NamedTuple):
    """A file of a tar archive: where its bytes begin, unpacked, and how many they are."""

    at: int
    size: int
    is_sparse: bool = False


@dataclass
class _Listed:
    """What is in an archive: the files that may be logs, each by a name of its own."""

    files: dict[str, _File] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)  # and whatever else is neither a file nor a folder
    is_broken: bool = False  # it breaks off, or is damaged, behind these
    kept: bytes | None = None  # the whole archive, unpacked


def _remarks(listed: _Listed | None, member: str) -> list[str]:
    """Return what is to be said of an archive; it is said with its first file."""
    if listed is None or not listed.links or member != next(iter(listed.files), None):
        return []
    shown = ", ".join(listed.links[:_SHOWN]) + (", …" if len(listed.links) > _SHOWN else "")
    return [f"beside it in the archive, links are left out ({shown}): `tar -h` packs what they lead to"]


def _is_zip(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def _of_zip(name: str) -> _Listed:
    with zipfile.ZipFile(name) as archive:
        infos = archive.infolist()
    if sum(info.compress_size for info in infos) > Path(name).stat().st_size:
        raise ImportFailed(f"{name}: its files overlap, as no program packs them: it is made to be unpacked for ever")
    listed = _Listed()
    for its, info in zip(_each_by_name([info.filename for info in infos]), infos, strict=True):
        if stat.S_ISLNK(info.external_attr >> 16):
            listed.links.append(its)
        elif _may_be_log(info.filename):
            listed.files[its] = _File(info.header_offset, info.file_size)
    _refuse_many(name, len(listed.files), len(infos))
    return listed


def _refuse_many(name: str, files: int, entries: int) -> None:
    if files > _MOST or entries > _MOST_ENTRIES:
        most = _MOST if files > _MOST else _MOST_ENTRIES
        raise ImportFailed(f"{name}: more than {most:,} files are in it: unpack it, and import the folder's files")


def _may_be_log(name: str) -> bool:
    return _NO_LOGS.fullmatch(name) is None


def _each_by_name(found: Sequence[str]) -> list[str]:
    """Return the names, each another one: a second `access.log` is `access.log (2)`."""
    again: Counter[str] = Counter()
    names: dict[str, None] = {}
    for its in found:
        name = its
        while name in names:
            again[its] += 1
            name = f"{its} ({again[its] + 1})"
        names[name] = None
    return list(names)


def _tar(path: str) -> _Listed | None:
    """Return what is in a tar archive, whatever it is packed with; None where it is none.

    Raises ImportFailed as `members` does, and one of `faults` where it is no archive from its first byte on."""
    its = Path(path).stat()
    return _tar_kept(path, its.st_ino, its.st_mtime_ns, its.st_size)


@lru_cache(maxsize=2)
def _tar_kept(path: str, *_: int) -> _Listed | None:
    with Path(path).open("rb") as file:
        source = unpacked(file, [])
        if not is_tar(source):
            return None
        listed = _list_tar(path, _Watched(path, source, is_kept=not source.seekable()))
        read_ones = [each for each in listed.files.values() if not each.is_sparse]
        read = sum(each.size if source.seekable() else each.at + each.size for each in read_ones)
    if listed.kept is None and read > _MOST_READ:
        raise _too_large(path)
    return listed


class _Watched:
    """The bytes of a tar archive, unpacked, as `tarfile` reads them: few are kept where they are packed, and headers
    have a bound, for `tarfile` takes any number of bytes of them into memory."""

    def __init__(self, path: str, source: io.BufferedReader, is_kept: bool) -> None:
        self.kept: list[bytes] | None = [] if is_kept else None
        self.header_left: int | None = None  # bytes; None where no header is read
        self._path = path
        self._source = source
        self._read = 0

    def read(self, size: int) -> bytes:
        piece = self._source.read(size)
        self._read += len(piece)
        if self.kept is not None:
            self.kept.append(piece)
            if self._read > _MOST_KEPT:
                self.kept = None
        if self.header_left is not None:
            self.header_left -= len(piece)
            if self.header_left < 0 or _NO_HEADER.search(piece):
                raise ImportFailed(
                    f"{self._path}: more than {_MOST_OF_HEADERS >> 20} MiB, or a thousand digits, stand before a file, "
                    "as no program packs them: unpack it, and import its files"
                )
        return piece


def _list_tar(path: str, source: _Watched) -> _Listed:
    listed = _Listed()
    found: list[tuple[str, _File]] = []
    entries = 0
    damage: tuple[type[Exception], ...] = (*faults(), ValueError)  # of a header's numbers and texts
    try:
        for info in _infos(path, source):
            entries += 1
            if len(info.name) > _LONGEST_NAME:
                raise ImportFailed(f"{path}: a name in it is longer than {_LONGEST_NAME:,} characters: unpack it first")
            if info.isfile() and _may_be_log(info.name):
                found.append((info.name, _File(info.offset_data, info.size, info.issparse())))
            elif not (info.isfile() or info.isdir() or info.islnk()):  # a hard link is a file that is in it already
                listed.links.append(info.name)
            _refuse_many(path, len(found), entries)
    except damage:  # what came before counts, and opening the archive itself tells what is wrong
        listed.is_broken = True
    names = _each_by_name([name for name, _ in found])
    listed.files = {name: file for name, (_, file) in zip(names, found, strict=True)}
    if not listed.is_broken and source.kept is not None:
        listed.kept = b"".join(source.kept)
    return listed


def _infos(path: str, source: _Watched) -> Iterator[tarfile.TarInfo]:
    """Yield the entries of a tar archive, and keep none of them. Raises ImportFailed and one of `faults`."""
    source.header_left = _MOST_OF_HEADERS
    with tarfile.open(fileobj=source, mode="r|") as archive:  # type: ignore[call-overload]
        stream = archive.fileobj
        while (info := archive.next()) is not None:
            source.header_left = None
            yield info
            archive.members.clear()
            archive.pax_headers.clear()
            if archive.offset > _MOST_READ:
                raise _too_large(path)
            while (left := archive.offset - stream.tell()) > 0:  # its `seek` would go on behind the end
                if not stream.read(min(left, _PIECE)):
                    raise tarfile.ReadError("unexpected end of data")
            source.header_left = _MOST_OF_HEADERS


def _too_large(path: str) -> ImportFailed:
    return ImportFailed(f"{path}: it is too large to be read once for each file in it: unpack it, and import these")


def _pieces_in_tar(path: str, listed: _Listed | None, member: str) -> Iterator[bytes]:
    """Yield the bytes of a file in a tar archive. Raises OSError where it is not there, ImportFailed where it is none
    that can be read, and one of `faults` where the archive breaks off."""
    its = listed.files.get(member) if listed else None
    if listed is None or its is None:
        raise OSError("no such file is in the archive")
    if its.is_sparse:
        raise ImportFailed("it is packed as a sparse file, with holes: pack it without `--sparse`, or unpack it first")
    if listed.kept is not None:
        yield listed.kept[its.at : its.at + its.size]
        return
    with Path(path).open("rb") as file:
        source = unpacked(file, [])
        if source.seekable():
            source.seek(its.at)
        else:
            yield from _next(source, its.at, is_skipped=True)
        yield from _next(source, its.size)


def _next(source: io.BufferedReader, count: int, is_skipped: bool = False) -> Iterator[bytes]:
    """Yield the next bytes of an archive, or skip them. Raises one of `faults` where it has not so many."""
    while count > 0:
        piece = source.read1(min(count, _PIECE))  # not `read`: what came before a fault counts
        if not piece:
            raise tarfile.ReadError("unexpected end of data")
        count -= len(piece)
        if not is_skipped:
            yield piece
