"""Live state of one process; what has to outlive it (salts, import keys) lies in a folder.

Several processes may share the folder: a secret is written aside and linked into place, which only the first
can do, and everybody reads the one that is there. Rate limits, door dedupe and presence are this process's own:
several processes that serve one door need Redis.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from urllib.parse import quote, unquote

from limits import parse as parse_rate
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from stores import files
from stores.base import Unreadable, Unusable
from stores.live import DEFAULT_RATE, REMEMBERED_S, SALT_BYTES, salt_expires
from stores.live.presence import Presence
from stores.location import Location

MAX_REMEMBERED = 1_000_000


class FolderLive:
    def __init__(self, place: Location) -> None:
        unknown = place.options.keys() - {"rate"}
        if unknown:
            raise Unusable(f"{place.shown}: unknown option {', '.join(sorted(unknown))}; known: rate")
        self.url = place.shown
        self._salts = place.folder / "salts"
        self._keys = place.folder / "keys"
        for folder in (self._salts, self._keys):
            files.make_folder(folder)
            folder.chmod(0o700)
        self._lock = Lock()
        self._known: dict[Path, bytes] = {}
        self._remembered: dict[bytes, tuple[bytes, float]] = {}
        self._presence = Presence()
        try:
            self._rate = parse_rate(place.options.get("rate", DEFAULT_RATE))
        except ValueError as error:
            raise Unusable(f"{place.shown}: rate is written as in 6000/minute ({error})") from error
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._forget_salts()

    def salt(self, day: str) -> bytes:
        path = self._salts / quote(day, safe="")
        if path not in self._known:
            expires = salt_expires(day, time.time())
            self._forget_salts()
            return self._secret(path, round(expires))
        return self._known[path]

    def import_key(self, site: str) -> bytes:
        return self._secret(self._keys / f"{quote(site, safe='')}.key", None)

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        now = time.monotonic()
        with self._lock:
            found = [self._remembered.get(key) for key in keys]
        return [entry[0] if entry and entry[1] > now else None for entry in found]

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        now = time.monotonic()
        with self._lock:
            for key, value in items.items():
                self._remembered.pop(key, None)
                self._remembered[key] = (value, now + REMEMBERED_S)
            for key in self._oldest(now):
                del self._remembered[key]

    def touch(self, site: str, visitor: str, path: str, at_ms: int) -> None:
        self._presence.touch_many([(site, visitor, path, at_ms)])

    def touch_many(self, touches: Iterable[tuple[str, str, str, int]]) -> None:
        self._presence.touch_many(touches)

    def last_active(self, site: str, visitor: str) -> int | None:
        return self._presence.last_active(site, visitor)

    def current(self, site: str, now_ms: int) -> int:
        return self._presence.current(site, now_ms)

    def top_pages(self, site: str, now_ms: int, minutes: int) -> list[tuple[str, int]]:
        return self._presence.top_pages(site, now_ms, minutes)

    def allow(self, key: str, n: int = 1) -> bool:
        return self._limiter.hit(self._rate, key, cost=n)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _oldest(self, now: float) -> list[bytes]:
        """Insertion order is expiry order: those to drop stand in front."""
        surplus = len(self._remembered) - MAX_REMEMBERED
        dropped = []
        for index, (key, (_, expires)) in enumerate(self._remembered.items()):
            if index >= surplus and expires > now:
                break
            dropped.append(key)
        return dropped

    def _secret(self, path: Path, expires: int | None) -> bytes:
        """The 16 bytes of a file, made if it is not there; a salt's file is stamped with its expiry."""
        with self._lock:
            if path in self._known:
                return self._known[path]
            if not path.exists():
                self._make(path, expires)
            secret = path.read_bytes()
            if len(secret) != SALT_BYTES:
                raise Unreadable(
                    str(path), f"it has {len(secret)} bytes instead of {SALT_BYTES}", "delete it, and a new one is made"
                )
            self._known[path] = secret
            return secret

    def _make(self, path: Path, expires: int | None) -> None:
        aside = path.with_name(f".{secrets.token_hex(4)}.partial")
        files.write(aside, secrets.token_bytes(SALT_BYTES))
        aside.chmod(0o600)
        if expires is not None:
            os.utime(aside, (expires, expires))
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
        files.sync_folder(path.parent)

    def _forget_salts(self) -> None:
        """Without its salt, a day's visitor ids can be told from nobody's address any more."""
        now = time.time()
        with self._lock:
            for path in self._salts.iterdir():
                if not unquote(path.name).startswith(".") and path.stat().st_mtime <= now:
                    path.unlink(missing_ok=True)
                    self._known.pop(path, None)
