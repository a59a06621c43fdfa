"""`footfall up`: everything on one machine, in a handful of processes that live and die together.

    supervisor          holds the data folder's lock and both listening sockets; prints; restarts what dies
    ├─ tracking         gunicorn and uvicorn: the tracking service and nothing else
    ├─ core             gunicorn and uvicorn, one worker: pages and API, and the live pipeline in a thread; it alone
    │                   owns the embedded warehouse, and serves the other commands (see `infra.processes.control`)
    └─ demo             with --demo: the visitors of a made-up shop

The listening sockets are bound once, here. So a busy port is reported before anything starts, `--port 0` works, and
clients of a child that dies wait in the queue until it has been restarted.

No child outlives the supervisor, even if it is killed: each child holds the read end of a pipe whose write end only
the supervisor has, and exits when that closes. A signal to the whole group (Ctrl-C) and one to the supervisor alone
have the same effect: the sockets close, requests in flight are answered, the last batch is committed and the archive
flushed.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from infra.errors import Failed
from infra.processes.lock import DataLock
from infra.settings import Settings, spell

Say = Callable[[str], None]

_RESTARTS = 5  # within _WITHIN seconds; then the supervisor gives up
_WITHIN = 60.0
_GRACE = 25.0  # seconds; longer than a child's own drain


class Started(msgspec.Struct):
    """The message that a child writes to the announcement pipe once it serves."""

    role: str
    pid: int


@dataclass
class _Child:
    role: str
    arguments: list[str]
    descriptors: tuple[int, ...]
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=_RESTARTS))

    def start(self, settings: Settings) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infra.processes", self.role, *self.arguments],
            env={**os.environ, **settings.environment()},
            pass_fds=self.descriptors,
            stdin=subprocess.DEVNULL,
        )

    def dies_often(self, now: float) -> bool:
        self.deaths.append(now)
        return len(self.deaths) == _RESTARTS and now - self.deaths[0] < _WITHIN


class Supervisor:
    """One run of `up`. `demo` is the site that synthetic visitors visit, or None.

    The settings have to pass `refuse_unfit`. Raises `Failed` if the data folder or a port is in use."""

    def __init__(self, settings: Settings, *, demo: str | None, say: Say) -> None:
        self._say = say
        self._lock = DataLock(settings.data)
        self._lock.take("footfall up")
        self._tracking = _listen(settings.host, settings.port, "port")
        self._dashboards = _listen(settings.dashboards_host, settings.dashboards_port, "dashboards_port")
        self.settings = replace(
            settings,
            port=self._tracking.getsockname()[1],
            dashboards_port=self._dashboards.getsockname()[1],
        )
        self._wake, self._signalled = os.pipe()
        self._announced, self._announce = os.pipe()
        self._followed, self._leash = os.pipe()
        self._children = [self._child("core", self._dashboards), self._child("tracking", self._tracking)]
        if demo is not None:
            self._children.append(self._child("demo", None, "--site", demo))

    def run(self, on_ready: Callable[[Settings], None]) -> int:
        """Serve until a signal and return the exit status. `on_ready` is called once, when both ports answer."""
        os.set_blocking(self._signalled, False)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        for child in self._children:
            if child.role != "demo":
                child.start(self.settings)
        waiting = {"core", "tracking"}
        while True:
            readable, _, _ = select.select([self._wake, self._announced], [], [])
            if self._announced in readable:
                for line in os.read(self._announced, 4096).splitlines():
                    waiting.discard(msgspec.json.decode(line, type=Started).role)
                if not waiting:
                    waiting = {"nobody"}
                    on_ready(self.settings)
                    self._start_demo()
            if self._wake in readable:
                numbers = set(os.read(self._wake, 4096))
                if numbers & {signal.SIGINT, signal.SIGTERM}:
                    self._say("draining: requests in flight are answered, what was accepted is kept")
                    return self._stop(0)
                if not self._revive():
                    return self._stop(1)

    def _child(self, role: str, listener: socket.socket | None, *more: str) -> _Child:
        arguments = ["--announce", str(self._announce), "--follow", str(self._followed), *more]
        descriptors = [self._announce, self._followed, self._lock.fd]
        if listener is not None:
            arguments += ["--listen", str(listener.fileno())]
            descriptors.append(listener.fileno())
        return _Child(role, arguments, tuple(descriptors))

    def _start_demo(self) -> None:
        for child in self._children:
            if child.role == "demo":
                child.start(self.settings)

    def _revive(self) -> bool:
        """Restart children that died; return False if one has died too often."""
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            status = child.process.returncode
            if child.dies_often(time.monotonic()):
                self._say(f"{child.role} does not stay up (status {status}); see what it said above. Giving up.")
                return False
            self._say(f"{child.role} ended (status {status}); starting it again")
            child.start(self.settings)
        return True

    def _stop(self, status: int) -> int:
        self._tracking.close()
        self._dashboards.close()
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + _GRACE
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._say(f"process {process.pid} did not end in {_GRACE:.0f} s and is killed; what was accepted stays")
                process.kill()
                process.wait()
        os.close(self._leash)
        self._lock.release()
        return status


def refuse_unfit(settings: Settings) -> None:
    """Raise `Failed` for settings that several processes cannot share or that would not keep the data."""
    if settings.broker.startswith("memory:"):
        raise Failed(f"`up` is several processes, which cannot share memory://; leave {spell('broker')} out for SQLite")
    if settings.warehouse == "chdb://":
        raise Failed(f"`up` keeps its data: give {spell('warehouse')} a folder, or leave it out")


def _listen(host: str, port: int, name: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        flag = spell(name)
        if error.errno == errno.EADDRINUSE:
            raise Failed(f"port {port} on {host} is taken by another program; choose another by {flag}") from error
        raise Failed(f"cannot listen on {host} port {port}: {error.strerror}; see {spell('host')}, {flag}") from error
    return listener
