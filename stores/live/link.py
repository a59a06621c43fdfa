"""The way to a Redis that may be gone: whoever asks while it is away is told at once, nobody waits twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any

from stores.base import Unreachable
from stores.redis_client import Connection

log = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds for one question: a Redis that is well takes milliseconds
_PROBE_EVERY = 1.0


class Link:
    """A `Connection` that is not used from its first failure on until it takes a write again, which a thread of its
    own finds out."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = Lock()
        self._closed = Event()
        self.problem = ""  # why it is away, "" while it answers

    @contextmanager
    def speaking(self) -> Iterator[Any]:
        """The client. Raises `Unreachable`: after `PATIENCE` the first time, then at once."""
        if self.problem:
            raise Unreachable(self.problem)
        try:
            with self._connection.speaking() as client:
                yield client
        except Unreachable as error:
            self._lost(str(error))
            raise
        except self._connection.errors as error:  # out of memory, a replica, no permission
            why = f"Redis at {self._connection.shown} refuses ({error})"
            self._lost(why)
            raise Unreachable(why) from error

    def close(self) -> None:
        self._closed.set()
        self._connection.close()

    def _lost(self, why: str) -> None:
        with self._lock:
            if self.problem or self._closed.is_set():
                return
            self.problem = why
        log.warning("Each process goes on with what it knows itself: %s", why)
        Thread(target=self._wait_for_it, name="redis-probe", daemon=True).start()

    def _wait_for_it(self) -> None:
        while not self._closed.wait(_PROBE_EVERY):
            try:
                self._connection.client.set(f"{self._connection.prefix}probe", b"", ex=1)
            except self._connection.errors:
                continue
            self.problem = ""
            log.warning("Redis at %s answers again", self._connection.shown)
            return
