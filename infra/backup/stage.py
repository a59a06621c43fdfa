"""Where a restore writes before anything counts, and how what is proved comes to its places.

Until the restored warehouse is proved, everything lies in `.restoring` in the data folder. Such a folder is none, and
every command refuses it. Once all is proved and on disk, it is renamed to `.restored`. From there each part is renamed
to its place, by the restore or, if that was killed, by the next command: so no command ever sees some parts only.
"""

from __future__ import annotations

from pathlib import Path

from infra.errors import Failed
from stores.backends import sync_folder

STAGE, PROVED = ".restoring", ".restored"


def put_in_place(data: Path) -> None:
    """Rename the parts of a restore that is proved to their places, those that are not there yet. Raises `Failed`.

    The caller has the data folder to itself."""
    proved = data / PROVED
    if not proved.is_dir():
        return  # another process has done it meanwhile
    for entry in sorted(proved.iterdir()):
        target = data / entry.name
        if target.exists():
            raise Failed(f"{target} is in the way of a restore that was broken off: move it, then try again")
        entry.rename(target)
    sync_folder(data)
    proved.rmdir()
    sync_folder(data)
