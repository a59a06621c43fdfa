"""The files in a zip or tar archive, each by a name of its own behind the archive's: `logs.tar.gz/log/access.log`.

A tar archive is read from its beginning for each of its files, for what is packed cannot be read elsewhere."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ingest.logs.packing import ZIP, ImportFailed, faults, is_tar, unpacked
from ingest.logs.streams import Pieces

_MOST = 5_000  # files of an archive
_MOST_READ = 20 << 30  # bytes of a tar archive, for all of its files together
_PIECE = 1 << 18  # bytes
_NO_LOGS = re.compile(r".*/|(?:.*/)?(?:__MACOSX/.*|\.DS_Store|\._[^/]*)")  # folders, and what macOS adds


def members(name: str) -> list[str]:
    """Return the names of the files in an archive; that of the file itself where it is none.

    Raises ImportFailed where they are too many, or the archive would be unpacked for ever."""
    try:
        if _is_zip(name):
            return _of_zip(name)
        with _tar(name) as archive:
            return [name] if archive is None else _of_tar(name, archive)
    except faults():  # opening it tells what is wrong
        return [name]


def in_archive(name: str) -> tuple[IO[bytes] | io.RawIOBase, int | None]:
    """Open a file in an archive; return its bytes, and how many these are if that tells how far one is.

    Raises ImportFailed where it cannot be read."""
    slashes = (slash.start() for slash in re.finditer("/", name))
    end = next(slash for slash in slashes if slash and Path(name[:slash]).is_file())
    path, member = name[:end], name[end + 1 :]
    try:
        if not _is_zip(path):
            return Pieces(_pieces_in_tar(path, member)), None
        with zipfile.ZipFile(path) as archive:  # its file stays open as long as the member is
            infos = archive.infolist()
            info = infos[_each_by_name([info.filename for info in infos]).index(member)]
            return archive.open(info), info.file_size
    except ValueError as error:
        raise ImportFailed(f"{name} cannot be read: no such file is in the archive") from error
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ImportFailed(f"{name} cannot be read: {error}. Unpack it first") from error


def _is_zip(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def _of_zip(name: str) -> list[str]:
    with zipfile.ZipFile(name) as archive:
        infos = archive.infolist()
    if sum(info.compress_size for info in infos) > Path(name).stat().st_size:
        raise ImportFailed(f"{name}: its files overlap, as no program packs them: it is made to be unpacked for ever")
    return _named(name, [info.filename for info in infos])


def _of_tar(name: str, archive: tarfile.TarFile) -> list[str]:
    found: list[str] = []
    rest: list[str] = []
    try:
        for info in archive:
            found += [info.name] if info.isfile() and _may_be_log(info.name) else []
            if len(found) > _MOST:
                break
    except faults():  # what came before counts, and opening the archive itself tells what is wrong
        rest = [name]
    names = _named(name, found) + rest
    if archive.offset * len(names) > _MOST_READ:
        raise ImportFailed(f"{name}: it is too large to be read once for each file in it: unpack it, and import these")
    return names


def _named(archive: str, found: Sequence[str]) -> list[str]:
    names = [f"{archive}/{name}" for name, its in zip(_each_by_name(found), found, strict=True) if _may_be_log(its)]
    if len(names) > _MOST:
        raise ImportFailed(f"{archive}: more than {_MOST:,} files are in it: unpack it, and import the folder's files")
    return names


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


@contextmanager
def _tar(path: str) -> Iterator[tarfile.TarFile | None]:
    """Open a tar archive, whatever it is packed with, to be read once; None where it is none."""
    with Path(path).open("rb") as file:
        source = unpacked(file, [])
        if not is_tar(source):
            yield None
            return
        with tarfile.open(fileobj=source, mode="r|") as archive:
            yield archive


def _pieces_in_tar(path: str, member: str) -> Iterator[bytes]:
    """Yield the bytes of a file in a tar archive. Raises OSError where it is not there, or the archive breaks off."""
    found: list[str] = []
    with _tar(path) as archive:
        for info in archive or ():
            if not info.isfile():
                continue
            found.append(info.name)
            if member.startswith(info.name) and _each_by_name(found)[-1] == member:
                assert archive is not None
                yield from _pieces_of(archive.extractfile(info))
                return
    raise OSError("no such file is in the archive")


def _pieces_of(file: IO[bytes] | None) -> Iterator[bytes]:
    while file is not None and (piece := file.read(_PIECE)):
        yield piece
