"""Answers users' statements, a few at a time: over a server's clients, or in processes of their own when embedded.

All statements together may use `MEMORY` bytes. A statement waits a while for its turn, and is refused when the turn
does not come. A statement that outruns its limits without noticing (the engine does not interrupt a single call of a
function over long texts) takes its process with it, and nothing else.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from stores.base import QueryFailed, QueryRefused, TooManyQueries, Unusable
from stores.clickhouse import Clients, ask, first_line
from stores.read_only import inspection
from stores.read_only.process import BEGUN
from stores.read_only.sandbox import WALLS

log = logging.getLogger("footfall")

AT_ONCE = 2  # statements that run at the same time
MEMORY = 4 << 30  # bytes of all statements together
SHARE = MEMORY // AT_ONCE
# The engine breaks a statement off at three quarters of its share; what the engine does not count fits into the rest.
LIMITS = inspection.Limits(seconds=30, rows=1_000_000, bytes=256 << 20, memory=SHARE * 3 // 4)

WAITING = 8
PATIENCE = 10.0  # seconds
GRACE = 5  # seconds beyond a statement's own, until its process is ended
_STARTING = 60.0


class Answer(NamedTuple):
    """The bytes of an answer, and the output format that they are in."""

    body: bytes
    fmt: str


class ReadOnlyClient:
    """Runs users' statements, each inspected first and within `inspection.Limits`. Safe for threads."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._queue = threading.BoundedSemaphore(AT_ONCE + WAITING)
        self._lock = threading.Lock()
        self._processes: list[ReadOnlyProcess | None] = [None] * AT_ONCE
        self._free = list(range(AT_ONCE))
        self._by_limits: dict[inspection.Limits, Clients] = {}
        self._closed = False

    def answer(
        self,
        statement: str,
        fmt: str,
        params: Mapping[str, str],
        limits: inspection.Limits,
        escaped: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to one statement, in `fmt` unless the statement ends with a FORMAT of its own.

        `escaped` parameters are passed on as they are; `settings` are those of `inspection.CHOSEN`.

        Raises `QueryRefused`, `TooManyQueries`, and `QueryFailed` when the engine could not go on."""
        inspection.refuse_oversized(statement, fmt, params)
        chosen = inspection.chosen(settings or {}, limits)
        sent = inspection.Sent(statement, fmt, dict(params), escaped, chosen)
        with self._turn():
            if self._clients.embedded:
                return self._in_a_process(sent, limits)
            return self._over_a_client(sent, limits)

    def reset(self) -> None:
        """End the processes, with what they are answering: they know a schema that was replaced."""
        with self._lock:
            for process in self._processes:
                if process:
                    process.end()

    def close(self) -> None:
        """End the processes and close the clients."""
        with self._lock:
            self._closed = True
        self.reset()
        for clients in self._by_limits.values():
            clients.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        busy = f"{AT_ONCE} questions are being answered and others wait: ask again in a moment"
        if not self._queue.acquire(blocking=False):
            raise TooManyQueries(busy)
        try:
            if not self._turns.acquire(timeout=PATIENCE):
                raise TooManyQueries(busy)
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._queue.release()

    def _in_a_process(self, sent: inspection.Sent, limits: inspection.Limits) -> Answer:
        with self._lock:
            at = max(self._free, key=lambda each: self._processes[each] is not None)  # one that runs, if any
            self._free.remove(at)
        try:
            request = {"sent": sent._asdict(), "limits": asdict(limits)}
            process = self._processes[at]
            if process is not None:
                try:
                    return process.answer(request, limits)
                except _Gone:  # it was idle for long, or the schema changed
                    pass
            with self._lock:
                if self._closed:
                    raise Unusable(f"{self._clients.safe_url} is closed")
            process = self._processes[at] = ReadOnlyProcess(self._clients, at)
            return process.answer(request, limits)
        except _Gone as error:
            raise QueryFailed("the process that answers questions ended before it began; ask again") from error
        finally:
            with self._lock:
                self._free.append(at)

    def _over_a_client(self, sent: inspection.Sent, limits: inspection.Limits) -> Answer:
        with self._clients.lend() as client:
            rules = inspection.rules(_asker(client), self._clients.database)
            question = inspection.prepared(_asker(client), sent, rules)
        with self._lock:
            if limits not in self._by_limits:
                self._by_limits[limits] = self._clients.copy(limits.settings())
        with self._by_limits[limits].lend() as client:
            try:
                params = _verbatim(question.params)
                return Answer(ask(client, question.text, None, params, settings=sent.settings), question.fmt)
            except ClickHouseError as error:
                raise QueryRefused(inspection.advice(first_line(error), limits)) from error


def _asker(client: Client) -> inspection.Ask:
    def ask_engine(sql: str, fmt: str, params: Mapping[str, str]) -> bytes:
        try:
            return ask(client, sql, fmt, _verbatim(params))
        except ClickHouseError as error:
            raise inspection.EngineError(first_line(error)) from error

    return ask_engine


class _Verbatim:
    """A value that the client library does not format: it does not know the type, and takes its `str`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _verbatim(params: Mapping[str, str]) -> dict[str, _Verbatim]:
    return {name: _Verbatim(value) for name, value in params.items()}


class _Gone(Exception):
    """The process had ended before it took up the statement."""


class ReadOnlyProcess:
    """One `stores.read_only.process` with an engine of its own, in the folder `readers/AT` of the warehouse."""

    def __init__(self, clients: Clients, at: int) -> None:
        opened = _schema(clients) | {"memory": SHARE}
        scratch = Path(opened.pop("folder")) / "readers" / str(at)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True, mode=0o700)
        self._ended = False
        self._channel, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "stores.read_only.process", str(theirs.fileno())],
                env={"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(scratch), "LC_ALL": "C.UTF-8"},
                cwd="/",
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # closed when this process ends, however it does
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        finally:
            theirs.close()
        try:
            with self._ending_after(_STARTING):
                self._channel.send_bytes(json.dumps(opened | {"scratch": str(scratch)}).encode())
                walls = json.loads(self._channel.recv_bytes(1 << 16))["walls"]
        except (OSError, EOFError) as error:
            self.end()
            raise QueryFailed("the process that answers questions does not start") from error
        if len(walls) < len(WALLS):
            missing = " and ".join(wall for wall in WALLS if wall not in walls)
            log.warning("Questions in SQL are answered without %s, which this system does not have", missing)

    def answer(self, request: Mapping[str, Any], limits: inspection.Limits) -> Answer:
        """The answer to one request. Raises `QueryRefused`, also when the statement cost the process its life."""
        outran = threading.Event()
        with self._ending_after(limits.seconds + GRACE, outran.set):
            try:
                self._channel.send_bytes(json.dumps(request).encode())
                if self._channel.recv_bytes(1 << 16) != BEGUN:
                    raise EOFError
            except (OSError, EOFError) as error:
                self.end()
                raise _Gone from error
            try:
                result = json.loads(self._channel.recv_bytes(1 << 20))
                body = self._channel.recv_bytes(limits.bytes)
            except (OSError, EOFError, ValueError) as error:
                ended_by_us = self._ended
                self.end()
                if ended_by_us:
                    raise QueryFailed("the warehouse was closed or changed meanwhile; ask again") from error
                if outran.is_set():
                    raise QueryRefused(f"{limits.took_too_long()} (it was ended)") from error
                raise QueryRefused(f"{limits.needs_too_much()} (the engine could not go on)") from error
        if "refused" in result:
            raise QueryRefused(result["refused"], result["name"])
        if "failed" in result:
            raise QueryFailed(result["failed"])
        return Answer(body, result["fmt"])

    def end(self) -> None:
        """Kill the process and wait until it is gone."""
        self._ended = True
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()

    @contextmanager
    def _ending_after(self, seconds: float, also: Callable[[], None] = lambda: None) -> Iterator[None]:
        def end() -> None:
            also()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _schema(clients: Clients) -> dict[str, Any]:
    """What the process needs to know of the warehouse: its folders, tables and views."""
    with clients.lend() as client:
        listed = ask(
            client,
            "SELECT name, engine, create_table_query, data_paths FROM system.tables"
            " WHERE database = {database:String} AND NOT is_temporary ORDER BY name",
            "JSONCompact",
            {"database": clients.database},
        )
        databases = ask(client, "SELECT name FROM system.databases", "TabSeparatedRaw").decode().split()
    rows = json.loads(listed)["data"]
    folder = clients.folder
    return {
        "database": clients.database,
        "others": [name for name in databases if name != clients.database],
        "folder": folder,
        "store": f"{folder}/store",
        "tables": {name: (paths[0], made) for name, engine, made, paths in rows if engine.endswith("MergeTree")},
        "views": [made for _, engine, made, _ in rows if engine == "View"],
    }
