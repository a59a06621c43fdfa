"""How a command reaches the warehouse: through the owner if one runs, else as the owner while the command runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from infra.backup import places
from infra.errors import Failed
from infra.processes import control
from infra.processes.control import Line
from infra.processes.lock import DataLock
from infra.settings import Settings
from infra.wiring import Parts

if TYPE_CHECKING:
    from infra.processes.core import Core
    from pipeline.unit import Unit

_START_SECONDS = 20.0
_POLL = 0.05


class Session(Protocol):
    """Runs the verbs of `infra.processes.jobs`, in this process or in the owner."""

    def call(self, verb: str, arguments: Line) -> Iterator[Line]:
        """Yields the lines of a verb. Raises `Failed`."""

    def prepare(self) -> None:
        """Prepares the pipeline to load a lot of events."""


class Here:
    """A session in this process, which owns the warehouse."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def call(self, verb: str, arguments: Line) -> Iterator[Line]:
        return self._core.verbs[verb](**arguments)

    def prepare(self) -> None:
        self._core.prepare()


@contextmanager
def session(settings: Settings, command: str, *, parts: Parts | None = None) -> Iterator[Session]:
    """Opens the session of a command; `parts` are those that the command has opened, for work in this process.

    Raises `Failed` if the data folder is held by a process that serves no other commands, and if nothing is there and
    the command has no parts: only what brings events makes a data folder.
    """
    running = _running(settings) if settings.embedded else None
    if running is not None:
        yield running
        return
    if settings.embedded and parts is None:
        places.require(settings)
    with owned(settings, command, parts=parts) as core:
        yield Here(core)


@contextmanager
def owned(
    settings: Settings, command: str, *, parts: Parts | None = None, unit: Unit | None = None
) -> Iterator[Core]:
    """A core in this process, which holds the data folder of an embedded warehouse meanwhile. Raises `Failed`.

    It works on one unit, by default on all of them."""
    from infra.processes.core import Core

    with ExitStack() as stack:
        if settings.embedded:
            lock = DataLock(settings.data)
            lock.take(command)
            stack.callback(lock.release)
        core = Core(parts or stack.enter_context(Parts(settings)), unit)
        stack.callback(core.close)
        yield core


def _running(settings: Settings) -> control.Owner | None:
    """The owner that serves this data folder; waits for one that is still starting."""
    lock = DataLock(settings.data)
    deadline = time.monotonic() + _START_SECONDS
    while lock.held():
        found = control.find(settings.data)
        if found is not None and found.answers():
            return found
        holder = lock.holder()
        if holder is None or not holder.command.startswith("footfall up") or time.monotonic() > deadline:
            raise Failed(lock.refusal(holder))
        time.sleep(_POLL)
    return None
