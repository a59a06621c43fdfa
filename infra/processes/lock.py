"""The lock of a data folder: one process tree at a time holds it, and a second one learns which one and since when.

The lock is `flock` on `DATA/lock`. It belongs to the open file, not to the process, and `up` passes the descriptor to
its children. So if only the supervisor is killed, the folder stays locked until the last child that may still write
there is gone, and a new `up` waits for that. The text of the file is only for the message.
"""

from __future__ import annotations

import fcntl
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from infra import private
from infra.errors import Failed

_PATIENCE = 20.0  # seconds; longer than a child's drain
_POLL = 0.05  # seconds; flock cannot wait with a deadline


class Holder(msgspec.Struct):
    """The process that holds the folder: its id, its command, and since when (ISO 8601)."""

    pid: int
    command: str
    since: str

    @property
    def alive(self) -> bool:
        """Whether the process exists."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class DataLock:
    """The lock of one folder, held from `take` until every process with a copy of `fd` has closed it or is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "lock"
        self.fd = -1

    def take(self, command: str, *, as_it_is: bool = False) -> None:
        """Take the lock, waiting only for the children of a dead holder. Raises `Failed`, which names the holder.

        The folder is made, and closed to other users, unless it is to stay `as_it_is`."""
        try:
            if not as_it_is:
                private.make(self.folder)
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Failed(f"{self.folder} cannot be the data folder: {error.strerror}; choose one by --data") from error
        deadline = time.monotonic() + _PATIENCE
        while not self._try():
            holder = self.holder()
            if (holder is not None and holder.alive) or time.monotonic() > deadline:
                self.release()
                raise Failed(self.refusal(holder))
            time.sleep(_POLL)
        os.ftruncate(self.fd, 0)
        text = msgspec.json.encode(Holder(os.getpid(), command, datetime.now(UTC).isoformat(timespec="seconds")))
        os.pwrite(self.fd, text, 0)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def held(self) -> bool:
        """Return whether a process holds the folder now."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def holder(self) -> Holder | None:
        """Return the last holder that the file names, alive or not, or None."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Holder)
        except (OSError, msgspec.DecodeError):
            return None

    def refusal(self, holder: Holder | None) -> str:
        """Return the message for a command that cannot have the folder."""
        who = f"`{holder.command}` (process {holder.pid}, since {holder.since})" if holder else "another process"
        return f"{self.folder} is held by {who}. Stop it first, or choose another folder with --data."

    def release(self) -> None:
        """Close our descriptor; children that inherited it still hold the lock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
