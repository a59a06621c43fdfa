"""What can be asked of the warehouse by name: a file of sql/query, or one of them with some parameters given.

Each file says in its first lines what it answers and names its parameters.

One ClickHouse client for the server and for the embedded engine, lent to one caller at a time.

`clickhouse://` goes over HTTP, `chdb://` to chDB in this process: the same client library, the same SQL. A
client serialises its calls (and an embedded one is a session), so every thread borrows its own from a pool
that grows as far as there are threads at once.

The embedded engine is one a process and one process a folder: the engine says "Cannot lock" to a second one.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

from stores.backends import make_folder, shown, spelled
from stores.base import BrokenRows, QueryFailed, StoreError, Unreachable, Unusable

_VISITS_BY = ("entry_page", "exit_page", "source", "channel", "country", "device", "browser", "os")
_EVENTS_BY = {"page": ("path", "pageview"), "search": ("term", "search"), "event": ("name", "custom")}

# name -> (file, parameters)
NARROWED: dict[str, tuple[str, dict[str, str | bool]]] = {
    **{f"breakdown_{by}": ("visits_by", {"by": by, "with_empty": not by.endswith("_page")}) for by in _VISITS_BY},
    **{f"breakdown_{name}": ("events_by", {"by": by, "kind": kind}) for name, (by, kind) in _EVENTS_BY.items()},
}

_FOLDER = files("stores").joinpath("sql/query")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def names() -> list[str]:
    return sorted({entry.name.removesuffix(".sql") for entry in _FOLDER.iterdir()} | NARROWED.keys())


@cache
def question(name: str) -> tuple[str, dict[str, str | bool]]:
    """The statement, and the parameters that the name itself gives."""
    file, given = NARROWED.get(name, (name, {}))
    if not _NAME.fullmatch(file) or name not in names():
        near = get_close_matches(name, names(), n=1)
        raise ValueError(f"{name!r} is no question." + (f" Did you mean {near[0]}?" if near else ""))
    return _FOLDER.joinpath(f"{file}.sql").read_text("utf-8"), given


DATABASE = "footfall"
# What the engine says of a part whose files are not as it wrote them. A marks file may be named as missing.
_BROKEN = re.compile(r"Code: (?:32|33|40|74|107|246|271|432)\.|CHECKSUM_DOESNT_MATCH|CANNOT_DECOMPRESS|CORRUPTED_DATA")

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*):[^{}]+\}")


class Clients:
    """Makes and lends clients of one URL. `settings` are applied to each as it is made."""

    def __init__(self, url: str, settings: dict[str, str] | None = None) -> None:
        parts = urlsplit(url)
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self._url = url
        self.shown = shown(url)
        self.embedded = parts.scheme == "chdb"
        self.cluster = options.pop("cluster", None)
        self._settings = settings or {}
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if self.embedded:
            self.database = options.pop("database", DATABASE)
            path = unquote(parts.path) or self._temporary()
            self._url = spelled("chdb", "", quote(path), urlencode({"database": self.database}))
            self._how: dict[str, Any] = {"interface": "chdb", "path": path}
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
            raise Unusable(f"{self.shown}: a warehouse is chdb:///folder or clickhouse://user@host:8123/database")
        if options:
            raise Unusable(f"{self.shown}: unknown option {', '.join(sorted(options))}; known: cluster, timeout")
        self._lock: int | None = None
        self._idle: list[Client] = []
        self._guard = threading.Lock()
        self._closed = False

    def own(self) -> None:
        """Once before anything else: take the embedded engine's folder for this process, make the database."""
        if self.embedded:
            self._lock_folder(Path(self._how["path"]))
        client = self._open(database=None)
        try:
            on = f" ON CLUSTER '{self.cluster}'" if self.cluster else ""
            client.command(f"CREATE DATABASE IF NOT EXISTS `{self.database}`{on}")
        finally:
            client.close()

    @property
    def folder(self) -> str:
        """Where the embedded engine keeps its files."""
        return os.path.realpath(str(self._how["path"]))

    def copy(self, settings: dict[str, str]) -> Clients:
        """Clients of the same warehouse with other settings."""
        return Clients(self._url, settings)

    @contextmanager
    def lend(self) -> Iterator[Client]:
        with self._guard:
            if self._closed:
                raise Unusable(f"{self.shown} is closed")
            client = self._idle.pop() if self._idle else None
        if client is None:
            client = self._open(self.database)
        # One that failed is not lent again: the embedded engine keeps what a statement had put out before it was
        # broken off, and would give it as the beginning of the next statement's answer.
        keep = False
        try:
            yield client
            keep = True
        except ClickHouseError as error:
            raise failure(error, self.shown) from error
        finally:
            with self._guard:
                keep = keep and not self._closed
                if keep:
                    self._idle.append(client)
            if not keep:
                client.close()

    def close(self) -> None:
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._scratch:
            self._scratch.cleanup()

    def _lock_folder(self, folder: Path) -> None:
        """The engine locks its folder too, but fails without saying why, and only after it has read everything."""
        make_folder(folder)
        lock = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 32).decode("ascii", "replace")
            os.close(lock)
            raise Unusable(
                f"{self.shown} is open in process {owner or 'unknown'}. One process owns an embedded warehouse: while"
                " `footfall up` runs, ask it (the footfall commands do so by themselves), or stop it first"
            ) from None
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def _open(self, database: str | None) -> Client:
        try:
            client = clickhouse_connect.get_client(database=database, **self._how)
            for name, value in self._settings.items():
                client.set_client_setting(name, value)
        except ClickHouseError as error:
            raise failure(error, self.shown) from error
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
) -> bytes:
    """The answer in `fmt`, None where the text names its own; it goes to the engine as it stands."""
    text = f"{sql}\nFORMAT {fmt}" if fmt else sql
    return bytes(client.raw_query(text, parameters=bound(sql, params), external_data=beside))


def bound(sql: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters that the engine will bind; ValueError for one that the text does not declare.

    In a text without a `{name:Type}` the client library writes parameters itself, by Python's `%`, and what runs
    is no longer what was inspected. So it is handed none that the text has no placeholder for."""
    given = dict(params or {})
    undeclared = given.keys() - set(_PLACEHOLDER.findall(sql))
    if undeclared:
        names = ", ".join(sorted(undeclared))
        raise ValueError(f"the statement declares no parameter {names}: write {{name:Type}} where its value goes")
    return given


def failure(error: ClickHouseError, shown_url: str) -> StoreError:
    """What the client library raised, in our words."""
    message = first_line(error)
    if "different path" in message.lower() or "already initialized" in message.lower():
        return Unusable(
            f"{shown_url} cannot be opened beside another embedded warehouse: a process has one at a time, close that"
        )
    if "EmbeddedServer" in message or "Cannot lock" in message:
        return Unusable(
            f"{shown_url} cannot be opened: either another program has the folder open, or it cannot be written,"
            f" or it is none of this engine's ({message})"
        )
    if isinstance(error, OperationalError):
        cause = message.partition(" executing HTTP request")[0].rpartition("(Caused by ")[2].rstrip(")")
        return Unreachable(f"{shown_url} does not answer: is it running? Retry later ({cause})")
    if "AUTHENTICATION_FAILED" in message or "Code: 516" in message:
        return Unusable(f"{shown_url} does not take this user and password: look at both in the URL")
    if _BROKEN.search(message):
        return BrokenRows(f"{shown_url} holds rows that cannot be read ({message})")
    return QueryFailed(message)


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
