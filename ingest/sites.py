"""The sites file: which domains may be counted, and by what rules.

    [[site]]
    domain = "example.com"
    key = "secret, for servers that send events for others"
    timezone = "Europe/Berlin"
    search_parameters = ["q", "query"]
    origins = ["https://example.com"]

Only `domain` is needed. The file is read again when it changes, looked at no more than once a second; a file
that became wrong is reported and the sites known before stay. Adding a site keeps comments and order.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import tomlkit

log = logging.getLogger(__name__)

_DOMAIN = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,250}[a-z0-9])?(:[0-9]{1,5})?")
_LOOK_AGAIN = 1.0


class SitesError(ValueError):
    """The sites file cannot be used; the message names the file, the entry and what to change."""


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the file."""

    domain: str
    key: Annotated[str, msgspec.Meta(min_length=16)] | None = None
    timezone: str = "UTC"
    search_parameters: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


class _File(msgspec.Struct, forbid_unknown_fields=True):
    site: list[Site] = []


def parse(text: str, source: str) -> dict[str, Site]:
    """The sites of a TOML text by domain; every problem of it in one `SitesError`."""
    try:
        entries = msgspec.convert(tomllib.loads(text), _File).site
    except tomllib.TOMLDecodeError as error:
        raise SitesError(f"{source} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise SitesError(
            f"{source}: {error}; an entry is [[site]] with domain, and if wanted key, timezone, "
            "search_parameters and origins"
        ) from error
    problems: list[str] = []
    sites: dict[str, Site] = {}
    for entry in entries:
        problems += _problems(entry)
        if entry.domain in sites:
            problems.append(f"{entry.domain} is there twice; keep one of the two entries")
        sites[entry.domain] = entry
    if problems:
        raise SitesError(f"{source}: " + "; ".join(problems))
    return sites


def _problems(site: Site) -> Iterator[str]:
    if not is_domain(site.domain):
        yield f"{site.domain!r} is not a domain; write it in lower case without https:// and path, like example.com"
    try:
        ZoneInfo(site.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"timezone {site.timezone!r} of {site.domain} is not known; write it like Europe/Berlin"
    for origin in site.origins:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            yield f"origin {origin!r} of {site.domain} is not one; write it like https://www.example.com"


def is_domain(text: str) -> bool:
    return _DOMAIN.fullmatch(text) is not None


class Sites:
    """The known sites, read from a file that may change, or given as they are."""

    def __init__(self, path: Path | None = None, sites: dict[str, Site] | None = None) -> None:
        self._path = path
        self._sites = dict(sites or {})
        self._mark: tuple[int, int, int] | None = None
        self._look_at = 0.0
        self._problem = ""
        if path is not None:
            self._read(path)

    def get(self, domain: str) -> Site | None:
        if self._path is not None and monotonic() >= self._look_at:
            self._look(self._path)
        return self._sites.get(domain)

    def all(self) -> list[Site]:
        if self._path is not None:
            self._look(self._path)
        return list(self._sites.values())

    def _look(self, path: Path) -> None:
        self._look_at = monotonic() + _LOOK_AGAIN
        try:
            self._read(path)
        except SitesError as error:
            if str(error) != self._problem:
                log.error("The sites known before stay in force: %s", error)
            self._problem = str(error)

    def _read(self, path: Path) -> None:
        with _in_words(path):
            try:
                status = path.stat()
            except FileNotFoundError:
                if self._mark is None:
                    return
                raise
            mark = (status.st_mtime_ns, status.st_ino, status.st_size)
            if mark == self._mark:
                return
            text = path.read_text(encoding="utf-8")
            self._mark = mark  # what is wrong with this text is said once
            self._sites = parse(text, str(path))
        self._problem = ""
        self._look_at = monotonic() + _LOOK_AGAIN


def add(path: Path, domain: str, **fields: object) -> bool:
    """Write a site into the file unless it is there; True when it was added. Other processes may do the same."""
    domain = domain.strip().lower().rstrip(".")
    with _in_words(path), _locked(path):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if domain in parse(text, str(path)):
            return False
        document = tomlkit.parse(text)
        entry = tomlkit.table()
        entry["domain"] = domain
        for name, value in fields.items():
            entry[name] = value
        entries = document.setdefault("site", tomlkit.aot())
        entries.append(entry)
        changed = tomlkit.dumps(document)
        parse(changed, str(path))
        _replace(path, changed)
    return True


def new_key() -> str:
    return secrets.token_urlsafe(24)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """What the file system and the encoding say about the file, as `SitesError`."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SitesError(f"{path} is not UTF-8 ({error}): write it anew as UTF-8 text") from error
    except OSError as error:
        where = error.filename or path
        raise SitesError(
            f"{where}: {error.strerror}; the sites are a file that this user may read and write"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    """The new text entirely or not at all, also after a power cut. Only the owner reads it: it holds keys."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
