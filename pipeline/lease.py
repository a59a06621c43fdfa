"""The lease by which one loader has a unit and others stand by.

It keeps two loaders from doing the same work, and no more: what makes a batch count once is the checkpoint's
compare-and-swap, whoever runs it. So a clock that is wrong costs time or work, never a row.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

import msgspec

from pipeline.checkpoint import Lease
from stores.base import CheckpointStore, Conflict, StoreError, Unreadable

log = logging.getLogger("footfall.pipeline")

# Who has not renewed its lease for so long has lost it.
BOUND_MS = 15_000


class HeldLease:
    """A lease under a name in the checkpoint store, which a thread renews until `release`. It is one process's own."""

    def __init__(
        self,
        store: CheckpointStore,
        name: str,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        bound: int = BOUND_MS,
    ) -> None:
        """`clock` returns ms since the epoch; after `bound` ms without being renewed the lease is free."""
        self._store = store
        self._name = f"lease-{name}"
        self._clock = clock
        self._bound = bound
        self._me = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._until = 0
        self._other = ""
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._renewing: threading.Thread | None = None

    def take(self) -> bool:
        """Take the lease if it is free, or say that it is held. Raises `StoreError` while the store cannot say."""
        with self._lock:
            left = self._until - self._clock()
            # More than it was taken for is left where the clock was set back.
            if not self._bound // 2 < left <= self._bound and not self._write():
                return False
            if self._renewing is None:
                self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
                self._renewing.start()
            return True

    @property
    def held(self) -> bool:
        """Whether this process has the lease."""
        return 0 < self._until - self._clock() <= self._bound

    @property
    def other(self) -> str:
        """The process that had the lease when it was wanted last, "" when it was free."""
        return self._other

    def holder(self) -> str:
        """The process that has the lease now, "" when it is free."""
        held = self._load()[0]
        return held.by if held.counts(self._clock(), self._bound) else ""

    def release(self) -> None:
        """Let another process take the lease at once, or when it runs out if the store does not answer."""
        self._released.set()
        if self._renewing is not None:
            self._renewing.join()
        with self._lock:
            if self._clock() < self._until:
                self._bound = self._until = 0
                try:
                    self._write()
                except StoreError as error:
                    log.warning("The %s could not be given back, it runs out: %s", self._name, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _write(self) -> bool:
        held, version = self._load()
        if held.by != self._me and held.counts(self._clock(), self._bound):
            if self._other != held.by:
                log.warning("%s has the %s; this process stands by until it stops renewing it", held.by, self._name)
            self._other, self._until = held.by, 0
            return False
        until = self._clock() + self._bound
        try:
            self._store.swap(self._name, msgspec.json.encode(Lease(self._me, until)), version)
        except Conflict:
            return False
        if self._other:
            log.warning("Took the %s over from %s", self._name, self._other)
        self._until, self._other = until, ""
        return True

    def _load(self) -> tuple[Lease, str | None]:
        free = Lease("", 0)
        try:
            found = self._store.load(self._name)
        except Unreadable:
            self._store.delete(self._name)
            found = None
        if found is None:
            return free, None
        try:
            return msgspec.json.decode(found[0], type=Lease), found[1]
        except msgspec.MsgspecError:
            return free, found[1]

    def _renew(self) -> None:
        while not self._released.wait(self._bound / 3000):
            try:
                with self._lock:
                    self._write()
            except StoreError as error:
                log.warning("The %s could not be renewed: %s", self._name, error)
