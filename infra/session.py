"""A command's way to the warehouse: by the owner when one runs, else as the owner for as long as it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from infra import owner
from infra.failures import Failed
from infra.lock import DataLock
from infra.owner import Line
from infra.settings import Settings
from infra.wiring import Parts

_START_SECONDS = 20.0
_POLL = 0.05


class Session(Protocol):
    """Does the verbs of `infra.verbs`, here or in the owner."""

    def call(self, verb: str, arguments: Line) -> Iterator[Line]: ...


class Here:
    """This process is the owner. `live` loads what is published while other verbs work."""

    def __init__(self, parts: Parts) -> None:
        from infra.core import Core

        self.core = Core(parts)

    def call(self, verb: str, arguments: Line) -> Iterator[Line]:
        return self.core.verbs[verb](**arguments)


@contextmanager
def session(settings: Settings, command: str, *, parts: Parts | None = None, live: bool = False) -> Iterator[Session]:
    """The session of a command, over `parts` where it works here and the command has opened some.

    `live`: load what the command publishes while it still publishes. Raises `Failed` when the data folder is
    held by something that serves nobody."""
    lock = DataLock(settings.data)
    if settings.embedded:
        running = _running(settings, lock)
        if running is not None:
            yield running
            return
        lock.take(command)
    try:
        with ExitStack() as stack:
            here = Here(parts or stack.enter_context(Parts(settings)))
            if live:
                here.core.start()
                stack.callback(here.core.stop)
            yield here
    finally:
        lock.release()


def _running(settings: Settings, lock: DataLock) -> owner.Owner | None:
    """The owner that serves this data folder, waiting for one that is only just starting."""
    deadline = time.monotonic() + _START_SECONDS
    while lock.held():
        found = owner.find(settings.data)
        if found is not None and found.answers():
            return found
        holder = lock.holder()
        if holder is None or not holder.command.startswith("footfall up") or time.monotonic() > deadline:
            raise Failed(lock.refusal(holder))
        time.sleep(_POLL)
    return None
