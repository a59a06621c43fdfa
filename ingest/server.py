"""The server of both ports: gunicorn manages the processes, uvicorn speaks HTTP in each of them.

gunicorn binds the sockets, forks the workers, replaces those that die and passes signals on. A worker is uvicorn on
uvloop and httptools, which costs less than half the CPU of gunicorn's own `asgi` worker and gives a request a task of
the event loop instead of a thread. Two things are added, both through what the libraries offer for it: a subclass of
uvicorn's protocol, named in `uvicorn.Config(http=…)`, which bounds what a client may do and answers most events without
a task (`ingest.connection`), and a subclass of `uvicorn.Server`, which stops without cutting off any client.

**Stopping.** SIGTERM and SIGINT mean the same, because Ctrl-C reaches every process of a group: every client that has
connected is answered, and idle connections are not waited for. SIGQUIT stops at once. In this order:

1. The master notes in memory shared with its workers that the whole server stops, as opposed to one worker that is
   replaced while others keep serving the same socket, and closes its copy of the socket. `footfall up` closes its own.
2. The worker stops listening without cutting off any client. A client counts as connected as soon as the system has
   put it in the listening queue, and closing the socket resets every client in that queue. Emptying the queue first
   does not help, since the next client may enter between the last look and the close. So the worker first makes the
   socket ignore new handshakes (`hear_from`) while those under way finish, waits SETTLE seconds and until the queue is
   empty, and then closes it. Clients that connect meanwhile get no answer, retry and are refused.
3. Requests under way are answered with `Connection: close`, and so are those that arrive within LINGER seconds on
   connections that were kept alive. Then idle connections are closed, and after STALLED seconds those whose body
   still has not arrived. If there are no connections, the worker does not wait. An application that sends answers
   without an end has a method `drain`, which is called first and ends them.
4. After three quarters of the grace period the rest is cancelled, so that the application can still store the events
   that it has accepted before gunicorn kills the process at the end of that period.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import mmap
import os
import signal
import socket
import threading
from collections.abc import Callable

import uvicorn
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker as BaseWorker

from ingest.connection import (
    ALL,
    KEEP_ALIVE,
    LINGER,
    NONE,
    Config,
    Connection,
    Connections,
    hear_from,
)

SETTLE = 0.1  # seconds, as are the next two; see above
STALLED = 3.0
GRACE = 6


class Server(uvicorn.Server):
    """uvicorn's server with a sweep over the connections, and a stop that cuts off no client."""

    def __init__(self, config: Config, worker: Worker) -> None:
        super().__init__(config)
        self._all = config.all
        self._drain = config.drain
        self._worker = worker

    def handle_exit(self, sig: int, frame: object) -> None:  # noqa: ARG002 - uvicorn's signature
        """Stop. uvicorn's own handler cuts requests off at a second SIGINT and raises the signal again later."""
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Sweep over the connections and check for a reason to stop. uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            self._worker.notify()
            self._sweep()
        if not self._worker.alive or self._worker.ppid != os.getppid():
            self.should_exit = True
        return await super().on_tick(counter)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            assert isinstance(connection, Connection)
            connection.enforce_deadlines(now)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as described above."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self._worker.cfg.graceful_timeout * 3 / 4
        self._all.draining = True
        if self._drain is not None:
            self._drain()
        for connection in list(self.server_state.connections):
            assert isinstance(connection, Connection)
            if connection.busy:
                connection.shutdown()  # closes it after the answer
        await self._stop_listening(sockets or [], began + LINGER, deadline)
        idle: set[Connection] = set()
        while self.server_state.connections and not self.force_exit and loop.time() < deadline:
            self._worker.notify()
            now = loop.time()
            before, idle = idle, set()
            for connection in list(self.server_state.connections):
                assert isinstance(connection, Connection)
                if connection.idle_since(began) < now - LINGER:
                    idle.add(connection)
                elif connection.awaits_body and now - began > STALLED:
                    connection.transport.abort()
            for connection in idle & before:  # idle in two looks: any request that arrived in between has been read
                connection.shutdown()
            await asyncio.sleep(0.02)
        if self.server_state.connections:
            unfinished = len(self.server_state.connections)
            self._worker.log.warning("%d connections did not finish in time and are closed", unfinished)
        await super().shutdown(sockets)

    async def _stop_listening(self, sockets: list[socket.socket], noted: float, deadline: float) -> None:
        # A signal to the whole group may reach this worker before the master has noted its own.
        await self._until(lambda: self._all.server_stops, noted)
        if self._all.server_stops:
            for listener in sockets:
                hear_from(listener, NONE)
            await asyncio.sleep(SETTLE)
            await self._until(lambda: all(listener.get_backlog() <= 0 for listener in self._worker.sockets), deadline)
        for server in self.servers:
            server.close()

    async def _until(self, reached: Callable[[], bool], deadline: float) -> None:
        """Wait until `reached` returns true, `deadline` by the loop's clock has passed, or SIGQUIT came."""
        while not reached() and not self.force_exit and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # another process causes it, so there is nothing to await


class Worker(BaseWorker):
    """A worker process of gunicorn that runs `Server`."""

    alive: bool
    stopping: mmap.mmap  # set by `serve` before the fork

    def init_signals(self) -> None:
        """Let SIGINT stop the worker as SIGTERM does."""
        super().init_signals()
        signal.signal(signal.SIGINT, self.handle_exit)  # until uvicorn runs, which takes over both signals

    def run(self) -> None:
        """Serve until the server has stopped."""
        config = Config(
            app=self.wsgi,
            loop="auto",
            http=Connection,
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # the application knows which proxies to trust
            server_header=False,
            backlog=self.cfg.backlog,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=1,
        )
        config.all = Connections(self.stopping)
        config.direct = getattr(self.wsgi, "direct", None)
        config.drain = getattr(self.wsgi, "drain", None)
        server = Server(config, self)

        def quit_now(*_: object) -> None:
            server.should_exit = server.force_exit = True

        signal.signal(signal.SIGQUIT, quit_now)
        # Its warnings are about clients that do not speak HTTP, which get an answer that says so.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        sockets = [listener.sock for listener in self.sockets]
        for listener in sockets:
            hear_from(listener, ALL)  # lifts the bound from a socket that an earlier server stopped listening on
        server.run(sockets)
        gc.freeze()  # else Python searches all objects for cycles at its exit, which takes the core process a second


class Application(BaseApplication):
    """gunicorn configured from keyword settings alone: no configuration file, no control socket."""

    def __init__(self, load: Callable[[], object], settings: dict[str, object]) -> None:
        self._load = load
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Apply the settings."""
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> object:
        """Return the ASGI application."""
        return self._load()


def follow(parent: int, on_gone: Callable[[], None]) -> None:
    """Call `on_gone` once the other end of the pipe `parent` closes, which happens even on kill -9."""

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
    on_exit: Callable[[], object] = lambda: None,
    **settings: object,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and exit the process with gunicorn's status.

    `load` runs in each worker, after the fork, and returns the ASGI application, which supports the lifespan protocol.
    `parent` is the read end of a pipe whose write end the starting process holds: when that process is gone, this one
    drains and exits too. `on_exit` is called last, in the master process. `settings` are those of gunicorn.
    """
    stopping = mmap.mmap(-1, 1)

    def before_fork(_: Arbiter, worker: Worker) -> None:
        worker.stopping = stopping

    def take_signals(arbiter: Arbiter) -> None:
        def stop(*_: object) -> None:
            stopping[0] = 1
            arbiter.signal(signal.SIGTERM, None)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    def leave(_: Arbiter) -> None:
        on_exit()
        gc.freeze()

    if parent is not None:
        follow(parent, lambda: os.kill(os.getpid(), signal.SIGTERM))
    Application(
        load,
        {
            "bind": bind,
            "workers": workers,
            "worker_class": "ingest.server.Worker",
            "graceful_timeout": GRACE,
            "timeout": 30,
            "backlog": 2048,
            "control_socket_disable": True,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "when_ready": take_signals,
            "pre_fork": before_fork,
            "on_exit": leave,
            **settings,
        },
    ).run()
