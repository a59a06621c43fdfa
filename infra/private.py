"""What Footfall keeps is its user's alone: keys, salts, and every event.

New folders are 0700 and new files 0600, whatever the umask that the process was started with. A data folder that
others may enter is closed, and said. Folders outside of it, given by settings of their own, keep what their owner
gave them, and the files of an archive are as readable as its folder (see `stores.backends`): whoever lets analysts read
the Parquet says so once, on the folder.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

_OTHERS = 0o077
# What the data folder holds. Beside anything else it is perhaps a home or /tmp, and not ours to close.
_OURS = (
    "archive", "checkpoint", "core.lock", "live", "lock", "log.db", "owner.json", "sites.toml", "spool", "warehouse",
)  # fmt: skip

log = logging.getLogger("footfall")


def by_default() -> None:
    """Once at the start of a process, before it makes a file."""
    os.umask(os.umask(_OTHERS) | _OTHERS)


def make(folder: Path) -> None:
    """The data folder, its user's alone, made if it is not there. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & _OTHERS:
        return
    if folder.stat().st_uid == os.geteuid() and all(entry.name.startswith(_OURS) for entry in folder.iterdir()):
        folder.chmod(mode & ~_OTHERS & ~stat.S_ISVTX)
        log.warning("%s was open to other users (%04o) and is closed to them now", folder, mode)
    else:
        log.warning("%s is open to other users (%04o): close it by chmod 700, or give a folder by --data", folder, mode)
