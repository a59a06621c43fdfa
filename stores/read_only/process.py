"""The process that runs users' statements on the embedded engine: `python -m stores.read_only.process DESCRIPTOR`.

It opens an engine of its own in a scratch folder. The tables in there use the warehouse's folder as a read-only disk.
A part that the owner has put in place is in the next answer; a part that a merge replaced is covered by its
successor, as it is when the owner itself starts. So answers are exact and fresh, and cost the owner no memory.

Before the engine is loaded the process gives up what no statement needs: every file but the tables and the scratch
folder, every socket, other programs (`stores.read_only.sandbox`). The inspection of statements is the first wall;
this one holds when the first was fooled.

On the channel each message is JSON, and the body of an answer follows its message. The owner ends this process by
closing its standard input, or by a signal when a statement outran its limits.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import sysconfig
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stores.base import QueryRefused
from stores.read_only import inspection
from stores.read_only.sandbox import confine

IDLE_SECONDS = 300
BEGUN = b"begun"

_SYSTEM = ("/usr", "/lib", "/lib64", "/proc/self", "/sys/fs/cgroup")
_ATTEMPTS = 5
_SPILLED = 4 << 30  # bytes of one file in the scratch folder


def main(descriptor: int) -> None:
    """Serve the channel of this file descriptor until the owner ends it, or nothing came for a while."""
    channel = Connection(descriptor)
    try:
        opened = json.loads(channel.recv_bytes())
        with suppress(OSError):  # where memory is short, this process goes before its owner
            Path("/proc/self/oom_score_adj").write_text("1000")
        walls = confine(_readable(opened.pop("store")), [opened["scratch"]])
        threading.Thread(target=_follow_owner, daemon=True).start()
        reader = Reader(**opened)
        channel.send_bytes(json.dumps({"walls": walls}).encode())
        while channel.poll(IDLE_SECONDS):
            request = json.loads(channel.recv_bytes())
            channel.send_bytes(BEGUN)
            result, body = _answered(reader, request)
            channel.send_bytes(json.dumps(result).encode())
            channel.send_bytes(body)
            if _memory() > reader.heaviest:
                break  # the allocator gives little back; the next statement gets a new process
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    os._exit(0)  # there is nothing to save, and the engine takes its time


def _readable(store: str) -> list[str]:
    engine = find_spec("chdb")
    assert engine is not None
    assert engine.origin is not None
    return [store, str(Path(engine.origin).parent.parent), sysconfig.get_path("stdlib"), *_SYSTEM]


def _follow_owner() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _answered(reader: Reader, request: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    try:
        question, body = reader.answer(inspection.Sent(**request["sent"]), inspection.Limits(**request["limits"]))
    except QueryRefused as error:
        return {"refused": str(error), "name": error.name}, b""
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}, b""
    return {"fmt": question.fmt}, body


class Reader:
    """An engine over the `tables` of `database`, name -> (folder, CREATE statement), and over its `views`.

    `others` are further databases of the owner. They are not here, and a statement that names one is refused in words.
    `memory` is in bytes."""

    def __init__(
        self,
        database: str,
        others: list[str],
        scratch: str,
        memory: int,
        tables: dict[str, tuple[str, str]],
        views: list[str],
    ) -> None:
        from chdb.state.sqlitelike import Connection as Engine

        self._connect: Callable[[], Any] = partial(Engine, scratch)
        self._database = database
        self._owner = self._connect()
        self._folders = {name: folder for name, (folder, _) in tables.items()}
        self._seen: dict[str, frozenset[str]] = {}
        self._run(self._owner, f"CREATE DATABASE IF NOT EXISTS `{database}`")
        self._run(self._owner, f"USE `{database}`")
        for name, (folder, statement) in tables.items():
            self._seen[name] = _parts(folder)
            self._retrying(on_disk(statement, folder))
        for statement in views:
            self._run(self._owner, statement)
        found = inspection.rules(self._ask, database)
        self._rules = replace(found, databases=found.databases | {name.lower() for name in others})
        self.heaviest = _memory() + memory // 4
        _bound_memory(_memory() + memory)

    def answer(self, sent: inspection.Sent, limits: inspection.Limits) -> tuple[inspection.Question, bytes]:
        """The statement as it was run, and the bytes of its answer. Raises `QueryRefused`."""
        question = inspection.prepared(self._ask, sent, self._rules)
        settings = limits.settings(inspection.chosen(sent.settings, limits))
        try:
            body = self._question(question, settings)
        except inspection.EngineError as error:
            if not any(sign in str(error) for sign in ("FILE_DOESNT_EXIST", "errno: 2,")):
                raise QueryRefused(inspection.advice(str(error), limits)) from error
            self._seen.clear()  # parts were removed while they were read
            try:
                body = self._question(question, settings)
            except inspection.EngineError as again:
                raise QueryRefused(inspection.advice(str(again), limits)) from again
        if len(body) > limits.bytes:
            raise QueryRefused(limits.answers_too_much())
        return question, body

    def _question(self, question: inspection.Question, settings: Mapping[str, str]) -> bytes:
        """Use a new connection: one whose statement was broken off would give the rest to the next statement."""
        self._refresh()
        connection = self._connect()
        try:
            self._run(connection, f"USE `{self._database}`")
            for name, value in settings.items():
                self._run(connection, f"SET {name} = '{value}'")
            return self._run(connection, question.text, "TabSeparated", question.params)
        finally:
            connection.close()

    def _refresh(self) -> None:
        """Attach the tables whose parts changed. Names tell parts apart: a part is never written to again."""
        for name, folder in self._folders.items():
            there = _parts(folder)
            if there != self._seen.get(name):
                with suppress(inspection.EngineError):  # the attempt before this one may have ended here
                    self._run(self._owner, f"DETACH TABLE {name}")
                self._retrying(f"ATTACH TABLE {name}")
                self._seen[name] = there

    def _retrying(self, statement: str) -> None:
        """Run a statement, again when the owner removed parts while they were listed."""
        for left in reversed(range(_ATTEMPTS)):
            try:
                self._run(self._owner, statement)
                return
            except inspection.EngineError:
                if not left:
                    raise

    def _ask(self, sql: str, fmt: str, params: Mapping[str, str]) -> bytes:
        return self._run(self._owner, sql, fmt, params)

    @staticmethod
    def _run(connection: Any, sql: str, fmt: str = "TabSeparated", params: Mapping[str, str] | None = None) -> bytes:
        try:
            return bytes(connection.query(sql, fmt, params=dict(params or {})).bytes() or b"")
        except Exception as error:
            said = str(error)
            raise inspection.EngineError(said[max(0, said.find("Code: ")) :].strip().partition("\n")[0]) from error


def on_disk(statement: str, folder: str) -> str:
    """The owner's CREATE TABLE, with other settings: the table reads the folder and can write nothing."""
    table, _, _ = statement.rpartition(" SETTINGS ")
    path = folder.replace("\\", "\\\\").replace("'", "\\'")
    kind = "type = object_storage, object_storage_type = local_blob_storage, metadata_type = plain, readonly = 1"
    return f"{table} SETTINGS table_disk = 1, disk = disk({kind}, path = '{path}')"


def _parts(folder: str) -> frozenset[str]:
    return frozenset(entry.name for entry in Path(folder).iterdir() if not entry.name.startswith(("tmp", "delete_tmp")))


def _memory() -> int:
    """Bytes of memory that this process has of its own, 0 on a system that does not say."""
    try:
        return int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) << 10
    except OSError:
        return 0


def _bound_memory(most: int) -> None:
    """Bound the memory of the process, since the engine's own count does not see everything."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_SPILLED, _SPILLED))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]))
