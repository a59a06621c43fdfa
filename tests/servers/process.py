"""A server kept in the background by a pid file: start, stop, status and logs, each safe to repeat.

A pid may have passed to a stranger after a reboot, so a process counts as ours only while its command line
names our folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Servers that this process started, so that their end is noticed at once and leaves no zombie.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]


class NotStarted(Exception):
    """The part does not run; the message says why and what to do."""


def cache() -> Path:
    """The one folder for downloads and data."""
    return Path(os.environ.get("FOOTFALL_CACHE") or ROOT / ".cache" / "footfall").resolve()


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there, or any free port for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise NotStarted(f"port {wanted} is taken ({error}): give another one, or --port 0 for any") from error
        return int(probe.getsockname()[1])


class Server:
    """One background process and the folder that holds its data, log, pid and address."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / "log.txt"
        self._pid = folder / "pid"
        self._address = folder / "address"

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Two starts at once: the second finds it running."""
        return locked(self.folder)

    def address(self) -> str | None:
        """Where it answers, None when it does not run."""
        return self._address.read_text() if self.pid() and self._address.exists() else None

    def pids(self) -> list[int]:
        return [pid] if (pid := self.pid()) else []

    def pid(self) -> int | None:
        try:
            pid = int(self._pid.read_text())
        except (OSError, ValueError):
            return None
        return pid if str(self.folder) in _command_line(pid) else None

    def spawn(
        self,
        command: list[str],
        port: int,
        ready: Callable[[], bool],
        *,
        timeout: float = 600.0,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Start `command` detached and return its address once `ready` says so."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                cwd=self.folder,
            )
        _CHILDREN[process.pid] = process
        self._pid.write_text(str(process.pid))
        self._address.write_text(f"{HOST}:{port}")
        deadline = time.monotonic() + timeout  # long: a process that ended is noticed at once
        while not ready():
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(timeout=0.05)
                raise NotStarted(f"{self.name} ended with status {status}; its last words:\n{self.tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise NotStarted(f"{self.name} was not ready after {timeout:.0f} s; its last words:\n{self.tail()}")
        return f"{HOST}:{port}"

    def kill(self) -> None:
        """kill -9, and back when it is gone. It may be started again on what it left."""
        if (pid := self.pid()) is not None:
            os.kill(pid, signal.SIGKILL)
            self._gone(pid, 20.0)
        self._pid.unlink(missing_ok=True)
        self._address.unlink(missing_ok=True)

    def stop(self, patience: float = 20.0) -> bool:
        """SIGTERM, then SIGKILL; True when there was something to stop."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)  # a paused one would not hear of it
            self._gone(pid, patience)
        self._pid.unlink(missing_ok=True)
        self._address.unlink(missing_ok=True)
        return pid is not None

    def _gone(self, pid: int, patience: float) -> None:
        """Back when the process has ended wholly: its memory, and so its command line, goes before its sockets."""
        deadline = time.monotonic() + patience
        while not _ended(pid):
            time.sleep(0.02)
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                deadline += patience
        for child in list(_CHILDREN.values()):  # one that died by itself has no pid any more by which it is found
            if child.poll() is not None:
                _CHILDREN.pop(child.pid, None)

    def tail(self, lines: int = 20) -> str:
        if not self.log.exists():
            return f"{self.name} has no log yet"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Group:
    """Servers that are one part: started together, stopped in the opposite order. `listening` answer for it."""

    def __init__(self, folder: Path, servers: Sequence[Server], listening: Sequence[Server]) -> None:
        self.folder = folder
        self.servers = servers
        self._listening = listening

    def address(self) -> str | None:
        """Where it answers, comma separated; None unless all of it runs."""
        found = [server.address() for server in self._listening]
        return ",".join(address for address in found if address) if self.servers and all(found) else None

    def pids(self) -> list[int]:
        return [pid for server in self.servers for pid in server.pids()]

    def stop(self) -> bool:
        with ThreadPoolExecutor() as pool:  # a cluster that loses its quorum waits for it when told to end one by one
            return any(list(pool.map(Server.stop, reversed(self.servers))))

    def tail(self, lines: int = 20) -> str:
        return "\n".join(f"-- {server.name}\n{server.tail(lines)}" for server in self.servers)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder is one process's own meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def let_go() -> None:
    """The servers that this process started are to outlive it, so their children are nothing to wait for."""
    for child in _CHILDREN.values():
        child.returncode = 0
    _CHILDREN.clear()


def _ended(pid: int) -> bool:
    """Whether nothing of it is left but perhaps an entry that its parent has yet to collect."""
    if child := _CHILDREN.get(pid):
        return child.poll() is not None
    proc = Path("/proc")
    if proc.is_dir():
        try:
            state = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            return state == "Z" and len(list((proc / str(pid) / "task").iterdir())) == 1
        except OSError:
            return True
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state or state.startswith("Z")


def _command_line(pid: int) -> str:
    """Empty for a process that is gone, or dead and not yet collected."""
    proc = Path("/proc")
    if proc.is_dir():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
