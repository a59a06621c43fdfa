"""Keeps Footfall's files private to its user: keys, salts, and every event.

New folders are 0700 and new files 0600, whatever umask the process was started with. A data folder that other users
can enter is closed, with a warning. Folders outside the data folder, which have settings of their own, keep the
permissions that their owner gave them, and the files of an archive are as readable as its folder (see
`stores.backends`): to let analysts read the Parquet, open the archive's folder once.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from stores.backends import make_durable_folder

_OTHERS = 0o077
# What a data folder holds. A folder that holds anything else may be a home or /tmp, and is not ours to close.
_OURS = (
    "accounts.db", "archive", "backup.lock", "checkpoint", "core.lock", "live", "lock", "log.db", "owner.json",
    "sites.toml", "spool", "warehouse",
)  # fmt: skip

log = logging.getLogger("footfall")


def by_default() -> None:
    """Sets the umask. Call it once at the start of a process, before it makes a file."""
    os.umask(os.umask(_OTHERS) | _OTHERS)


def make(folder: Path) -> None:
    """Makes the data folder, durably, if it is missing, and keeps other users out of it. Raises OSError."""
    make_durable_folder(folder)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & _OTHERS:
        return
    if folder.stat().st_uid == os.geteuid() and all(entry.name.startswith(_OURS) for entry in folder.iterdir()):
        folder.chmod(mode & ~_OTHERS & ~stat.S_ISVTX)
        log.warning("%s was open to other users (%04o) and is closed to them now", folder, mode)
    else:
        log.warning("%s is open to other users (%04o): close it by chmod 700, or name another by --data", folder, mode)
