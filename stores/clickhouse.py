"""ClickHouse clients for a server and for the embedded engine, and the questions that are asked by name.

Clients. `clickhouse://` goes over HTTP, `chdb://` to chDB in this process: the same client library, the same SQL. A
client does one call at a time (an embedded one is a session), so each call borrows a client of its own from a pool,
which grows to as many clients as there are calls at once. A process can have one embedded engine, and a folder can be
open in one process: the engine answers "Cannot lock" to a second one.

Questions. A question is a file of `sql/query`; its first lines say what it answers, and name its parameters. Some add
up rows that other statements give, which are put in their place (`filled`), see `stores.days`.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from clickhouse_connect.driver.external import ExternalData

from stores.backends import build_url, hide_credentials, make_folder
from stores.base import BrokenRows, QueryFailed, StoreError, StoreUnreachable, Unusable

_FOLDER = files("stores").joinpath("sql/query")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def names() -> list[str]:
    """The names of all questions, sorted."""
    return sorted(entry.name.removesuffix(".sql") for entry in _FOLDER.iterdir() if entry.name.endswith(".sql"))


@cache
def question(name: str) -> str:
    """The statement of a question. Raises ValueError, with the nearest name, when there is no such question."""
    if not _NAME.fullmatch(name) or name not in names():
        near = get_close_matches(name, names(), n=1)
        raise ValueError(f"{name!r} is no question." + (f" Did you mean {near[0]}?" if near else ""))
    return _FOLDER.joinpath(f"{name}.sql").read_text("utf-8")


@cache
def rows(name: str, folder: str = "rows") -> str:
    """The statement of a file of `sql/query/rows`, which gives the rows that a question adds up, or of a folder beside
    it."""
    return _FOLDER.joinpath(folder, f"{name}.sql").read_text("utf-8")


def filled(statement: str, parts: Mapping[str, str]) -> str:
    """A statement with these texts in the places of its lines `-- name`. They are statements or conditions of ours."""
    places = {f"-- {name}": text for name, text in parts.items()}
    return "\n".join(places.get(line.strip(), line) for line in statement.split("\n"))


DATABASE = "footfall"
# What the engine says when the files of a part are not as it wrote them; one of them may be missing.
_BROKEN = re.compile(
    r"Code: (?:32|33|39|40|74|107|246|271|432)\.|CHECKSUM_DOESNT_MATCH|CANNOT_DECOMPRESS|CORRUPTED_DATA"
)

# Of the embedded engine: one merge at a time. It merges beside the pipeline, which lagged behind for seconds when it
# merged four times at once.
_ENGINE = {"background_pool_size": 1, "background_merges_mutations_concurrency_ratio": 1}

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*):[^{}]+\}")


class Clients:
    """Makes and lends clients of one URL; `settings` are the engine's, applied to each client as it is made.

    Safe for threads. Raises `Unusable` for a URL that is wrong."""

    def __init__(self, url: str, settings: dict[str, str] | None = None) -> None:
        parts = urlsplit(url)
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self._url = url
        self.safe_url = hide_credentials(url)
        self.embedded = parts.scheme == "chdb"
        self.cluster = options.pop("cluster", None)
        self._settings = settings or {}
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if self.embedded:
            self.database = options.pop("database", DATABASE)
            path = unquote(parts.path) or self._temporary()
            self._url = build_url("chdb", "", quote(path), urlencode({"database": self.database}))
            if "?" in path:
                raise Unusable(f"{self.safe_url}: the embedded engine takes no folder with a ? in its name")
            self._path = path
            self._how: dict[str, Any] = {"interface": "chdb", "path": f"{path}?{urlencode(_ENGINE)}"}
        elif parts.scheme in ("clickhouse", "clickhouses"):
            secure = parts.scheme == "clickhouses"
            self.database = unquote(parts.path.strip("/")) or DATABASE
            self._how = {
                "interface": "https" if secure else "http",
                "host": parts.hostname or "localhost",
                "port": parts.port or (8443 if secure else 8123),
                "username": unquote(parts.username or "default"),
                "password": unquote(parts.password or ""),
                "autogenerate_session_id": False,
                "connect_timeout": 10,
                "send_receive_timeout": int(options.pop("timeout", "300")),
            }
        else:
            raise Unusable(f"{self.safe_url}: a warehouse is chdb:///folder or clickhouse://user@host:8123/database")
        if options:
            raise Unusable(f"{self.safe_url}: unknown option {', '.join(sorted(options))}; known: cluster, timeout")
        self._folder_lock: int | None = None
        self._idle: list[Client] = []
        self._lock = threading.Lock()
        self._closed = False

    def own(self) -> None:
        """Lock the embedded engine's folder for this process, and make the database. Call it once, before all else.

        Raises `Unusable` when another process has the folder, and `StoreUnreachable`."""
        if self.embedded:
            self._lock_folder(Path(self._path))
        client = self._open(database=None)
        try:
            on = f" ON CLUSTER '{self.cluster}'" if self.cluster else ""
            client.command(f"CREATE DATABASE IF NOT EXISTS `{self.database}`{on}")
        finally:
            client.close()

    @property
    def folder(self) -> str:
        """Where the embedded engine keeps its files."""
        return os.path.realpath(self._path)

    def copy(self, settings: dict[str, str]) -> Clients:
        """Clients of the same warehouse with these settings in place of ours."""
        return Clients(self._url, settings)

    @contextmanager
    def lend(self) -> Iterator[Client]:
        """A client for the block, of this thread alone. Raises what the client raises as an error of `stores.base`."""
        with self._lock:
            if self._closed:
                raise Unusable(f"{self.safe_url} is closed")
            client = self._idle.pop() if self._idle else None
        if client is None:
            client = self._open(self.database)
        # A client that failed is not lent again: the embedded engine keeps the output of a statement that was broken
        # off, and would put it before the answer of the next statement.
        keep = False
        try:
            yield client
            keep = True
        except ClickHouseError as error:
            raise failure(error, self.safe_url) from error
        finally:
            with self._lock:
                keep = keep and not self._closed
                if keep:
                    self._idle.append(client)
            if not keep:
                client.close()

    def close(self) -> None:
        """Close the idle clients at once and those that are lent when they come back; unlock the folder."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()
        if self._folder_lock is not None:
            os.close(self._folder_lock)
            self._folder_lock = None
        if self._scratch:
            self._scratch.cleanup()

    def _lock_folder(self, folder: Path) -> None:
        """Lock the folder: the engine does so too, but only after it has read everything, and without saying why."""
        make_folder(folder)
        lock = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 32).decode("ascii", "replace")
            os.close(lock)
            raise Unusable(
                f"{self.safe_url} is open in process {owner or 'unknown'}. One process owns an embedded warehouse:"
                " while `footfall up` runs, ask it (the footfall commands do so by themselves), or stop it first"
            ) from None
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._folder_lock = lock

    def _open(self, database: str | None) -> Client:
        try:
            client = clickhouse_connect.get_client(database=database, **self._how)
            for name, value in self._settings.items():
                client.set_client_setting(name, value)
        except ClickHouseError as error:
            raise failure(error, self.safe_url) from error
        return client

    def _temporary(self) -> str:
        self._scratch = tempfile.TemporaryDirectory(prefix="footfall-warehouse-")
        return self._scratch.name


def ask(
    client: Client,
    sql: str,
    fmt: str | None,
    params: Mapping[str, Any] | None = None,
    beside: ExternalData | None = None,
    settings: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of an answer in the format `fmt`; None when the statement names its own. The text is not changed."""
    text = f"{sql}\nFORMAT {fmt}" if fmt else sql
    given = bound(sql, params)
    return bytes(client.raw_query(text, parameters=given, external_data=beside, settings=dict(settings or {})))


@dataclass(frozen=True)
class Beside:
    """A table that a question brings along: its columns with their types, and its rows in a format of the engine."""

    name: str
    types: Mapping[str, str]
    body: bytes
    fmt: str


@contextmanager
def there(client: Client, tables: Sequence[Beside], embedded: bool) -> Iterator[ExternalData | None]:
    """For the block, the tables are there for a question of this client, which has to send along what this yields.

    The embedded engine, whose client is a session, gets temporary tables."""
    structures = [", ".join(f"`{column}` {kind}" for column, kind in table.types.items()) for table in tables]
    if not embedded:
        sent = ExternalData()
        for table, structure in zip(tables, structures, strict=True):
            sent.add_file(file_name=table.name, fmt=table.fmt, structure=structure, data=table.body)
        yield sent if tables else None
        return
    try:
        for table, structure in zip(tables, structures, strict=True):
            client.command(f"CREATE TEMPORARY TABLE {table.name} ({structure}) ENGINE = Memory")
            if table.body:
                client.raw_insert(table.name, list(table.types), table.body, fmt=table.fmt)
        yield None
    finally:
        for table in tables:
            client.command(f"DROP TEMPORARY TABLE IF EXISTS {table.name}")


def bound(sql: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """The parameters, for the engine to bind. Raises ValueError for one that the text does not declare.

    In a text without a `{name:Type}` the client library would insert parameters itself, by Python's `%`, and the text
    that runs would no longer be the text that was inspected. So it gets only parameters with a placeholder."""
    given = dict(params or {})
    undeclared = given.keys() - set(_PLACEHOLDER.findall(sql))
    if undeclared:
        names = ", ".join(sorted(undeclared))
        raise ValueError(f"the statement declares no parameter {names}: write {{name:Type}} where its value goes")
    return given


def failure(error: ClickHouseError, safe_url: str) -> StoreError:
    """What the client library raised, as an error of `stores.base`."""
    message = first_line(error)
    if "different path" in message.lower() or "already initialized" in message.lower():
        return Unusable(
            f"{safe_url} cannot be opened beside another embedded warehouse: a process has one at a time, close that"
        )
    if "EmbeddedServer" in message or "Cannot lock" in message:
        return Unusable(
            f"{safe_url} cannot be opened: either another program has the folder open, or it cannot be written,"
            f" or it is none of this engine's ({message})"
        )
    if isinstance(error, OperationalError):
        cause = message.partition(" executing HTTP request")[0].rpartition("(Caused by ")[2].rstrip(")")
        return StoreUnreachable(f"{safe_url} does not answer: is it running? Retry later ({cause})")
    if "AUTHENTICATION_FAILED" in message or "Code: 516" in message:
        return Unusable(f"{safe_url} does not take this user and password: look at both in the URL")
    if _BROKEN.search(message):
        return BrokenRows(f"{safe_url} holds rows that cannot be read ({message})")
    return QueryFailed(message)


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type when it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
