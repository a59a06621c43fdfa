"""Live state of one process; what has to outlive it (salts, import keys) lies in a folder.

Several processes may share the folder: a secret is written aside and linked into place, which only the first
can do, and everybody reads the one that is there. The ids taken lately and who is there are this process's own, and
no counter is added up with another's: several processes that serve one door need Redis.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from urllib.parse import quote, unquote

from stores import files
from stores.base import Unreadable, Unusable
from stores.live import SALT_BYTES, salt_expires
from stores.live.presence import Presence
from stores.live.remembered import Remembered
from stores.location import Location


class FolderLive:
    waits = False
    problem = ""

    def __init__(self, place: Location) -> None:
        if place.options:
            raise Unusable(f"{place.shown}: unknown option {', '.join(sorted(place.options))}; it has none")
        self.url = place.shown
        self._salts = place.folder / "salts"
        self._keys = place.folder / "keys"
        for folder in (self._salts, self._keys):
            files.make_folder(folder)
            folder.chmod(0o700)
        self._lock = Lock()
        self._known: dict[Path, bytes] = {}
        self._remembered = Remembered()
        self._presence = Presence()
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
        return self._remembered.seen(keys)

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        self._remembered.remember(items)

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

    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> None:
        """There is nobody to add up with."""

    def close(self) -> None:
        """Nothing is held open between calls."""

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
