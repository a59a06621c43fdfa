"""Live state: ids seen lately, active visitors, salts, import keys, shared counters. Here, for one process.

What has to outlive the process, salts and import keys, is in files of a folder. Several processes may share the
folder: a secret is written aside and linked into place, which only the first process can do, and every process reads
the one that is there. A file has the secret and a checksum of it; former versions wrote none. All else is in the
memory of this process, and counters are not added up with those of other processes: several processes that serve one
service need Redis (`stores.live_redis`).

Memory is bounded. Active visitors are bounded in number: when there are too many, the site that has most of them
loses the half that was silent longest, so a flood of new addresses costs the other sites nothing. Ids seen lately are
bounded in entries and bytes. They are kept in four generations, each of a quarter of the entries or of the time, and
the oldest generation is dropped whole. An id that is dropped too early costs nothing: the pipeline recognises it.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from urllib.parse import quote, unquote

from stores import backends
from stores.backends import Location
from stores.base import Unreadable, Unusable

log = logging.getLogger("footfall.stores")

SALT_BYTES = 16
_CHECK_BYTES = 4
REMEMBERED_S = 86_400
ACTIVE_MS = 3_600_000
CURRENT_MS = 300_000


def salt_expires(day: str, now: float) -> float:
    """When the salt of a day `YYYY-MM-DD` has to be gone, in Unix seconds: 48 hours after the day began.

    A salt that is requested later than that (a clock was set back, a test has its own days) lives 48 hours from now."""
    end = (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=48)).timestamp()
    return end if end > now else now + 48 * 3600


MAX_VISITORS = 100_000
_PRUNE_EVERY = 10_000


class ActiveVisitors:
    """When each visitor of the last hour was last active, in the memory of this process. Safe for threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._active: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._visitors = 0
        self._latest = 0
        self._until_prune = _PRUNE_EVERY

    def touch_many(self, touches: Iterable[tuple[str, str, int]]) -> None:
        """Note activities: site, visitor, time in ms."""
        with self._lock:
            for site, visitor, at_ms in touches:
                active = self._active[site]
                before = active.get(visitor)
                if before is None:
                    self._visitors += 1
                # One far ahead was noted before the clock was set back.
                if before is None or at_ms > before or at_ms < before - ACTIVE_MS:
                    active[visitor] = at_ms
                self._latest = at_ms
                self._until_prune -= 1
                if self._visitors > MAX_VISITORS or self._until_prune <= 0:
                    self._prune()

    def last_active(self, site: str, visitor: str) -> int | None:
        """When a visitor was last active, in ms; None when that is unknown."""
        with self._lock:
            return self._active[site].get(visitor) if site in self._active else None

    def current(self, site: str, now_ms: int) -> int:
        """How many visitors of a site were active in the last five minutes."""
        with self._lock:
            active = self._active.get(site, {})
            return sum(now_ms - CURRENT_MS < at <= now_ms for at in active.values())

    def forget(self, site: str, visitors: Iterable[str]) -> None:
        """Forget activities of visitors of a site."""
        with self._lock:
            for visitor in visitors:
                self._visitors -= self._active.get(site, {}).pop(visitor, None) is not None

    def _prune(self) -> None:
        self._until_prune = _PRUNE_EVERY
        for active in self._active.values():
            for visitor in [visitor for visitor, at in active.items() if abs(at - self._latest) > ACTIVE_MS]:
                del active[visitor]
        if sum(map(len, self._active.values())) > MAX_VISITORS:
            active = max(self._active.values(), key=len)
            for visitor in sorted(active, key=active.__getitem__)[: len(active) // 2 + 1]:
                del active[visitor]
        self._visitors = sum(map(len, self._active.values()))


class FolderLive:
    """The `Live` store of one process, see the module."""

    waits = False
    problem = ""

    def __init__(self, place: Location) -> None:
        if place.options:
            raise Unusable(f"{place.safe_url}: unknown option {', '.join(sorted(place.options))}; it has none")
        self.url = place.safe_url
        self._salts = place.folder / "salts"
        self._keys = place.folder / "keys"
        for folder in (self._salts, self._keys):
            backends.make_folder(folder)
            folder.chmod(0o700)
        self._lock = Lock()
        self._secrets: dict[Path, bytes] = {}
        self._remembered = Remembered()
        self._active = ActiveVisitors()
        self._forget_salts()

    def salt(self, day: str) -> bytes:
        path = self._salts / quote(day, safe="")
        if path not in self._secrets:
            expires = salt_expires(day, time.time())
            self._forget_salts()
            return self._secret(path, round(expires))
        return self._secrets[path]

    def import_key(self, site: str) -> bytes:
        return self._secret(self._keys / f"{quote(site, safe='')}.key", None)

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._remembered.seen(keys)

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        self._remembered.remember(items)

    def touch_many(self, touches: Iterable[tuple[str, str, int]]) -> None:
        self._active.touch_many(touches)

    def last_active(self, site: str, visitor: str) -> int | None:
        return self._active.last_active(site, visitor)

    def current(self, site: str, now_ms: int) -> int:
        return self._active.current(site, now_ms)

    def forget(self, site: str, visitors: Sequence[str]) -> None:
        self._active.forget(site, visitors)

    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> None:
        """None: counters are this process's own."""

    def close(self) -> None:
        """Nothing is open between calls."""

    def _secret(self, path: Path, expires: int | None) -> bytes:
        """The 16 bytes of a file, made if it is not there; a salt's file is stamped with its expiry."""
        with self._lock:
            if path in self._secrets:
                return self._secrets[path]
            if not path.exists():
                self._make(path, expires)
            secret, why = checked_secret(path.read_bytes())
            if why and expires is not None:
                log.error(
                    "%s is damaged: %s. The day has a new salt: who came before and comes again counts once more",
                    path, why,
                )  # fmt: skip
                self._replace(path, expires)
                secret, why = checked_secret(path.read_bytes())
            if why:
                remedy = "put it back from a copy, or delete it: then visitors whom senders name count as new ones"
                raise Unreadable(str(path), why, remedy)
            self._secrets[path] = secret
            return secret

    def _replace(self, path: Path, expires: int) -> None:
        """Put a new secret in the place of a damaged one, unless another process has done so by now."""
        aside = path.with_name(f".{secrets.token_hex(4)}.partial")
        with suppress(FileNotFoundError):
            path.rename(aside)
            if not checked_secret(aside.read_bytes())[1]:
                with suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()
        if not path.exists():
            self._make(path, expires)

    def _make(self, path: Path, expires: int | None) -> None:
        backends.make_folder(path.parent)
        aside = path.with_name(f".{secrets.token_hex(4)}.partial")
        secret = secrets.token_bytes(SALT_BYTES)
        try:
            with aside.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(secret + _check(secret))
                file.flush()
                if expires is not None:
                    os.utime(file.fileno(), (expires, expires))
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        backends.sync_folder(path.parent)

    def _forget_salts(self) -> None:
        """Delete expired salts: without its salt, no visitor id of a day can be computed from an address any more."""
        now = time.time()
        with self._lock:
            for path in self._salts.iterdir():
                if not unquote(path.name).startswith(".") and path.stat().st_mtime <= now:
                    path.unlink(missing_ok=True)
                    self._secrets.pop(path, None)


def _check(secret: bytes) -> bytes:
    return blake2b(secret, digest_size=_CHECK_BYTES).digest()


def checked_secret(found: bytes) -> tuple[bytes, str]:
    """The secret in the content of a file, and what is wrong with it, "" if nothing is."""
    secret, check = found[:SALT_BYTES], found[SALT_BYTES:]
    if len(secret) < SALT_BYTES:
        return secret, f"it has {len(found)} bytes instead of {SALT_BYTES + _CHECK_BYTES}"
    if check and check != _check(secret):
        return secret, "its checksum is not that of its bytes"
    return secret, ""


MAX_REMEMBERED = 200_000
_GENERATIONS = 4
_LONGEST = 96  # bytes: the ids of the beacon and a site's name have less


class Remembered:
    """Ids seen lately, in the memory of this process: for a day, and at most `MAX_REMEMBERED`. Safe for threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._most = max(1, MAX_REMEMBERED // _GENERATIONS)
        self._generations: deque[tuple[float, dict[bytes, bytes]]] = deque()

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What was remembered under each key, None for a key that is unknown or was dropped."""
        with self._lock:
            self._forget()
            generations = [items for _, items in reversed(self._generations)]
        found: list[bytes | None] = []
        for key in keys:
            short = key if len(key) <= _LONGEST else _short(key)
            value = None
            for items in generations:
                if (value := items.get(short)) is not None:
                    break
            found.append(value)
        return found

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        """Keep a value under each key."""
        now = time.monotonic()
        with self._lock:
            for key, value in items.items():
                newest = self._generations[-1] if self._generations else None
                if newest is None or len(newest[1]) >= self._most or now - newest[0] > REMEMBERED_S / _GENERATIONS:
                    newest = (now, {})
                    self._generations.append(newest)
                    self._forget()
                newest[1][_short(key)] = value

    def _forget(self) -> None:
        oldest = time.monotonic() - REMEMBERED_S
        while self._generations and (len(self._generations) > _GENERATIONS or self._generations[0][0] < oldest):
            self._generations.popleft()


def _short(key: bytes) -> bytes:
    """The key, or its hash when it is long: a sender may give events ids of any length."""
    return key if len(key) <= _LONGEST else blake2b(key).digest()
