"""gunicorn, held as a library: the one way the tracking path and the dashboards are served.

gunicorn's own `asgi` worker is the fastest server in pure Python that waits for a broker's ack without a
thread a request. Three of its habits do not suit a door that promises an answer to whoever came in:

* SIGINT cuts requests short. Ctrl-C reaches the whole process group, so here it means what SIGTERM means;
  SIGQUIT stays for the impatient.
* On SIGTERM a connection that never sends a full request holds the exit for the whole grace period, and one
  that sits between two requests is waited for as long. Here whoever comes or sends a request within `LINGER`
  is answered with `Connection: close`; then the listening queue is emptied and closed, those in it are answered
  too, and after another `LINGER` the idle ones are closed, after `STALLED` seconds those whose body still has
  not come. The queue belongs to every process that holds its socket: were the worker the first to close it,
  whoever came until the last had closed it would wait in it and be cut. The others close it at the signal.
* Half a header may stay open for as long as connections are kept. Here every header has `HEADER_SECONDS` and
  `HEADER_BYTES`, and an answer's next bytes must be taken within `TAKE_SECONDS`.
* Any number of connections is taken. Here a worker has `CONNECTIONS` at most, or half the files that the system
  grants it: beyond, the longest idle one makes room, and only where all are busy is the new one refused, in words.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.asgi.lifespan import LifespanManager, LifespanStartupFailed
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers.gasgi import ASGIWorker

LINGER = 1.0
SETTLE = 0.1
STALLED = 3.0
GRACE = 6
HEADER_SECONDS = 15.0
HEADER_BYTES = 64 << 10
TAKE_SECONDS = 30.0
CONNECTIONS = 2000
FILES = 2 * CONNECTIONS + 192  # what we ask the system for
_RETRY_AFTER = 5
_LATER = (("Retry-After", str(_RETRY_AFTER)),)
_AT_ONCE = struct.pack("ii", 1, 0)

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # of Linux; the socket module does not name them


class Protocol(ASGIProtocol):
    """One connection, known to its worker, so that the worker can tell the idle ones from the busy ones."""

    _heading_since = 0.0  # when the first bytes of a header came that is not whole yet
    _heading_bytes = 0
    _stuck_since = 0.0  # when the client stopped taking what we write

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made = self.worker.loop.time()
        room = self.worker.make_room()
        self.worker.connections[self] = None
        super().connection_made(transport)
        if not room:
            self._refuse(503, f"Too many connections are busy here: come again in {_RETRY_AFTER} seconds.\n", _LATER)

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.pop(self, None)
        super().connection_lost(exc)

    def _feed_callback_parser(self, data: bytes) -> bool:
        if self._current_request is None:
            self._heading_since = self._heading_since or self.worker.loop.time()
            self._heading_bytes += len(data)
        try:
            goes_on: bool = super()._feed_callback_parser(data)
        except Exception as error:  # a length of 5,000 digits: gunicorn lets the connection go without a word
            self._refuse(400, f"The request cannot be read ({type(error).__name__}): see RFC 9112.\n")
            return False
        if goes_on and self._current_request is None and self._heading_bytes > HEADER_BYTES:
            self._refuse(431, f"A header may have {HEADER_BYTES} bytes: send fewer or smaller fields.\n")
            return False
        return goes_on

    def pause_writing(self) -> None:
        self._stuck_since = self.worker.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = 0.0
        super().resume_writing()

    def drop_if_late(self, now: float) -> None:
        """Close it when its client takes longer over a header, or over our answer, than we wait."""
        if self._stuck_since and now - self._stuck_since > TAKE_SECONDS:
            # What the system still holds for it goes too.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
        elif self._current_request is not None:
            return
        elif self._heading_since:
            if now - self._heading_since > HEADER_SECONDS:
                self._refuse(408, f"The header did not arrive within {HEADER_SECONDS:.0f} seconds: send it again.\n")
        elif self.req_count <= 1 and now - self._made > HEADER_SECONDS:
            self.drop()

    def _refuse(self, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self._send_error_response(status, text, headers)
        self.drop()

    def _send_error_response(self, status: int, message: str, extra_headers: tuple[tuple[str, str], ...] = ()) -> None:
        """A coding that we do not know is the sender's mistake (gunicorn says 501): nothing broke here."""
        super()._send_error_response(400 if status == 501 else status, message, extra_headers)

    async def _serve_http_request(self, request: Any, sockname: Any, peername: Any) -> bool:
        """Without the task and the future a request that let an application run on after its answer: ours is
        done when it has answered."""
        self._heading_since, self._heading_bytes = 0.0, 0
        kept: bool = await self._handle_http_request(request, sockname, peername)
        return kept

    @property
    def between_requests(self) -> bool:
        return self._current_request is None

    @property
    def awaits_body(self) -> bool:
        return self._body_receiver is not None and not self._body_receiver._complete

    def drop(self) -> None:
        self._close_transport()
        if self._request_ready is not None:
            self._request_ready.set()


class Worker(ASGIWorker):
    """The asgi worker with a drain that cuts nobody who has sent a request, and waits for nobody else."""

    alive: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections: dict[Protocol, None] = {}  # in the order in which they came
        self.most_connections = CONNECTIONS

    def make_room(self) -> bool:
        """Whether one more connection may be taken; the longest idle one goes for it where that is needed."""
        if len(self.connections) < self.most_connections:
            return True
        for connection in self.connections:
            if connection.between_requests:
                del self.connections[connection]
                connection.drop()
                return True
        return False

    def init_signals(self) -> None:
        super().init_signals()
        self.loop.add_signal_handler(signal.SIGINT, self.handle_exit_signal)
        self.stopping = asyncio.Event()

    def handle_exit_signal(self) -> None:
        super().handle_exit_signal()
        self.stopping.set()

    def handle_quit_signal(self) -> None:
        super().handle_quit_signal()
        self.stopping.set()

    async def _serve(self) -> None:
        self.lifespan = LifespanManager(self.asgi, self.log, self.state)
        try:
            await self.lifespan.startup()
        except (LifespanStartupFailed, RuntimeError) as error:
            self.log.error("The application does not start: %s", error)
            self.lifespan = None
            raise SystemExit(Arbiter.WORKER_BOOT_ERROR) from error
        for listener in self.sockets:
            self.servers.append(
                await self.loop.create_server(lambda: Protocol(self), sock=listener.sock, backlog=self.cfg.backlog)
            )
        self.most_connections = min(CONNECTIONS, _files_granted() // 2)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            now = self.loop.time()
            for connection in list(self.connections):
                connection.drop_if_late(now)
            try:
                await asyncio.wait_for(self.stopping.wait(), 1.0)
            except TimeoutError:
                continue
        self.alive = False
        await self._shutdown()

    async def _shutdown(self) -> None:
        if not self._quick_shutdown:
            self.notify()
            await asyncio.sleep(LINGER)
        await self._stop_listening()
        deadline = self.loop.time() + self.cfg.graceful_timeout
        began = self.loop.time()
        waited = 0.0
        # Somebody accepted a moment ago is not yet among the connections.
        while (self.connections or waited < SETTLE) and not self._quick_shutdown and self.loop.time() < deadline:
            self.notify()
            waited = self.loop.time() - began
            for connection in list(self.connections):
                if (waited > LINGER and connection.between_requests) or (waited > STALLED and connection.awaits_body):
                    connection.drop()
            await asyncio.sleep(0.02)
        if self.connections:
            self.log.warning("%d connections did not finish in time and are closed", len(self.connections))
        for connection in list(self.connections):
            connection.drop()
        if self.lifespan is not None:
            await self.lifespan.shutdown()

    async def _stop_listening(self) -> None:
        """Take over whoever already waits in the backlog, and in the same breath close it: who comes later is
        refused by the system, which a client notices before it has sent anything."""
        late: list[socket.socket] = []
        for listener, server in zip(self.sockets, self.servers, strict=True):
            with _nobody_enters(listener.sock):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        late.append(listener.sock.accept()[0])
                server.close()
        for connection in late:
            connection.setblocking(False)
            await self.loop.connect_accepted_socket(lambda: Protocol(self), connection)


def _files_granted() -> int:
    """How many files this process may have open, raised as far as we need and the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        soft = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return FILES if soft == resource.RLIM_INFINITY else soft


@contextlib.contextmanager
def _nobody_enters(listener: socket.socket) -> Iterator[None]:
    """Between the last look into a queue and its closing somebody may enter, and would be cut. Linux can drop
    their first packet instead: they knock again, and are refused or meet another worker."""
    if sys.platform != "linux":
        yield
        return
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    with listener.dup() as kept:
        kept.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(drop_all)))
        yield
        with contextlib.suppress(FileNotFoundError):  # another worker that goes at the same time has detached it
            kept.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


class _Arbiter(Arbiter):
    def signal(self, sig: int, frame: object) -> None:
        super().signal(signal.SIGTERM if sig == signal.SIGINT else sig, frame)


class Server(BaseApplication):
    """gunicorn configured from keyword settings alone: no configuration file, no control socket."""

    def __init__(self, load: Callable[[], object], settings: dict[str, object]) -> None:
        self._load = load
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> object:
        return self._load()

    def run(self) -> None:
        _Arbiter(self).run()


def follow(parent: int, on_gone: Callable[[], None]) -> None:
    """Call `on_gone` once the other end of the pipe `parent` closes, which it does even on kill -9."""

    def wait() -> None:
        while os.read(parent, 1):
            pass
        on_gone()

    threading.Thread(target=wait, name="follow-parent", daemon=True).start()


def serve(
    load: Callable[[], object],
    bind: str | list[str],
    *,
    workers: int = 1,
    parent: int | None = None,
    on_worker: Callable[[int], object] | None = None,
    **settings: object,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and exit the process with gunicorn's status.

    `load` runs in each worker, after the fork, and returns the application. `parent` is the read end of a
    pipe whose write end the starting process holds: when that process is gone this one drains and goes too.
    `on_worker` is called in each worker after the fork with its number, below `workers` and its own while it lives.
    """

    def number(arbiter: Arbiter, worker: Worker) -> None:
        taken = {other.number for other in arbiter.WORKERS.values()}
        worker.number = min(set(range(len(taken) + 1)) - taken)

    def announce(_: Arbiter, worker: Worker) -> None:
        if on_worker is not None:
            on_worker(worker.number)

    if parent is not None:
        follow(parent, lambda: os.kill(os.getpid(), signal.SIGTERM))
    Server(
        load,
        {
            "bind": bind,
            "workers": workers,
            "worker_class": "ingest.server.Worker",
            "graceful_timeout": GRACE,
            "timeout": 30,
            "keepalive": 75,
            "backlog": 2048,
            "limit_request_fields": 64,
            "forwarder_headers": "",  # nobody sets SCRIPT_NAME or PATH_INFO for us
            "control_socket_disable": True,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "pre_fork": number,
            "post_fork": announce,
            **settings,
        },
    ).run()
