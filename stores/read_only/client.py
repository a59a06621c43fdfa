"""Readers' questions, a few at a time: over a server's clients, or in processes of their own when embedded.

What all of them may hold together is one number, `MEMORY`. A question waits for its turn for a while, and is told
to come again if that does not come. One that outruns its bounds and does not notice (a single call of a function
over long texts is not interrupted) takes its process with it, and nothing else.
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

from stores.base import QueryFailed, QueryRefused, ReadersBusy, Unusable
from stores.clickhouse import Clients, ask, first_line
from stores.read_only import inspection
from stores.read_only.process import BEGUN
from stores.read_only.sandbox import WALLS

log = logging.getLogger("footfall")

READERS = 2  # questions at once
MEMORY = 4 << 30  # bytes of all questions together
SHARE = MEMORY // READERS
# The engine breaks a question off here; what it does not count fits into the rest of the share.
QUESTION_MEMORY = SHARE * 3 // 4

WAITING = 8
PATIENCE = 10.0  # seconds
GRACE = 5  # seconds beyond a question's own, until its process is ended
_STARTING = 60.0


class Answer(NamedTuple):
    body: bytes
    fmt: str


class Readers:
    """Answers readers' statements, each within `guard.Limits`. Safe for threads."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._turns = threading.BoundedSemaphore(READERS)
        self._queue = threading.BoundedSemaphore(READERS + WAITING)
        self._guard = threading.Lock()
        self._processes: list[ReaderProcess | None] = [None] * READERS
        self._free = list(range(READERS))
        self._by_limits: dict[inspection.Limits, Clients] = {}
        self._closed = False

    def answer(self, statement: str, fmt: str, params: Mapping[str, str], limits: inspection.Limits) -> Answer:
        inspection.refuse_oversized(statement, fmt, params)
        with self._turn():
            if self._clients.embedded:
                return self._in_a_process(statement, fmt, params, limits)
            return self._over_a_client(statement, fmt, params, limits)

    def reset(self) -> None:
        """The schema is another: processes that know the old one are ended, with what they answer."""
        with self._guard:
            for process in self._processes:
                if process:
                    process.end()

    def close(self) -> None:
        with self._guard:
            self._closed = True
        self.reset()
        for clients in self._by_limits.values():
            clients.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        busy = f"{READERS} questions are being answered and others wait: ask again in a moment"
        if not self._queue.acquire(blocking=False):
            raise ReadersBusy(busy)
        try:
            if not self._turns.acquire(timeout=PATIENCE):
                raise ReadersBusy(busy)
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._queue.release()

    def _in_a_process(self, statement: str, fmt: str, params: Mapping[str, str], limits: inspection.Limits) -> Answer:
        with self._guard:
            at = max(self._free, key=lambda each: self._processes[each] is not None)  # rather one that runs
            self._free.remove(at)
        try:
            asked = {"statement": statement, "fmt": fmt, "params": dict(params), "limits": asdict(limits)}
            process = self._processes[at]
            if process is not None:
                try:
                    return process.answer(asked, limits)
                except _Gone:  # it had nothing to do for long, or the schema changed
                    pass
            with self._guard:
                if self._closed:
                    raise Unusable(f"{self._clients.shown} is closed")
            process = self._processes[at] = ReaderProcess(self._clients, at)
            return process.answer(asked, limits)
        except _Gone as error:
            raise QueryFailed("the process that answers questions ended before it began; ask again") from error
        finally:
            with self._guard:
                self._free.append(at)

    def _over_a_client(self, statement: str, fmt: str, params: Mapping[str, str], limits: inspection.Limits) -> Answer:
        with self._clients.lend() as client:
            question = inspection.prepared(
                _asking(client), statement, fmt, params, inspection.rules(_asking(client), self._clients.database)
            )
        with self._guard:
            if limits not in self._by_limits:
                self._by_limits[limits] = self._clients.copy(limits.settings())
        with self._by_limits[limits].lend() as client:
            try:
                return Answer(ask(client, question.text, None, _verbatim(question.params)), question.fmt)
            except ClickHouseError as error:
                raise QueryRefused(inspection.advice(first_line(error), limits)) from error


def _asking(client: Client) -> inspection.Ask:
    def asked(sql: str, fmt: str, params: Mapping[str, str]) -> bytes:
        try:
            return ask(client, sql, fmt, _verbatim(params))
        except ClickHouseError as error:
            raise inspection.EngineError(first_line(error)) from error

    return asked


class _Verbatim:
    """A value that the client library does not write in its own way: it knows no such type, and takes its `str`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _verbatim(params: Mapping[str, str]) -> dict[str, _Verbatim]:
    return {name: _Verbatim(value) for name, value in params.items()}


class _Gone(Exception):
    """The process had ended before it took the question up."""


class ReaderProcess:
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

    def answer(self, asked: Mapping[str, Any], limits: inspection.Limits) -> Answer:
        """Raises `QueryRefused`, also when the question cost the process its life."""
        outran = threading.Event()
        with self._ending_after(limits.seconds + GRACE, outran.set):
            try:
                self._channel.send_bytes(json.dumps(asked).encode())
                if self._channel.recv_bytes(1 << 16) != BEGUN:
                    raise EOFError
            except (OSError, EOFError) as error:
                self.end()
                raise _Gone from error
            try:
                head = json.loads(self._channel.recv_bytes(1 << 20))
                body = self._channel.recv_bytes(limits.bytes)
            except (OSError, EOFError, ValueError) as error:
                ended_by_us = self._ended
                self.end()
                if ended_by_us:
                    raise QueryFailed("the warehouse was closed or changed meanwhile; ask again") from error
                if outran.is_set():
                    raise QueryRefused(f"{limits.took_too_long()} (it was ended)") from error
                raise QueryRefused(f"{limits.needs_too_much()} (the engine could not go on)") from error
        if "refused" in head:
            raise QueryRefused(head["refused"])
        if "failed" in head:
            raise QueryFailed(head["failed"])
        return Answer(body, head["fmt"])

    def end(self) -> None:
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
    """What a reader needs to know of the warehouse: its folders, tables and views."""
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
