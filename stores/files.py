"""Files that are whole or not there, also after a power cut: written aside, synced, renamed, folder synced.

A file, and a folder made for it, is as open to other users as the folder that was there: who may read an archive is
said once, on its folder. A store's own folder, when it is not there, is as private as the process makes folders.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from stores.base import Unusable

_PARTIAL = ".partial"


def make_folder(folder: Path, *, open_as_above: bool = False) -> None:
    """With its parents, each durable in the one above it, and if told so as open to other users as that one."""
    if folder.is_dir():
        return
    try:
        if folder.parent != folder:
            make_folder(folder.parent, open_as_above=open_as_above)
        folder.mkdir(exist_ok=True)
        if open_as_above:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~0o777 | _permissions(folder.parent))
        sync_folder(folder.parent)
    except OSError as error:
        raise Unusable(f"{folder} cannot be made a folder ({error.strerror}): give one that can be written") from error


def write(path: Path, data: bytes) -> None:
    """Durable on return. Two writers of one path: the last rename wins, each file is whole."""
    make_folder(path.parent, open_as_above=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        with aside.open("xb") as file:
            os.fchmod(file.fileno(), _permissions(path.parent) & 0o666)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_partial(name: str) -> bool:
    """Whether a crash left this file half written; nobody refers to it."""
    return name.endswith(_PARTIAL)
