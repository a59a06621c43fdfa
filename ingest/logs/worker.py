"""The process that reads an import's lines, while the command's own process publishes and loads.

It is a pure function with a memory: it opens no store, gets lines through a pipe and sends back what they came to, a
batch at a time and in order. It ends when the pipe does, so it never outlives the command.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ingest.logs.files import ImportFailed

if TYPE_CHECKING:
    from activity.enrich import SiteRules
    from ingest.logs.batch import Batch


class Task(NamedTuple):
    """What all lines of one import have in common."""

    site: SiteRules
    key: bytes  # the site's import key
    received_at: int  # milliseconds UTC
    geo: Path | None  # an MMDB file of places
    proxies: tuple[str, ...] = ()  # that are trusted, see `trust`


class Worker:
    """The process, seen from the command's side. Use it as a context manager, which ends the process.

    A file that was given up leaves the process in its middle: then another one reads the next file."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._feeding: threading.Thread | None = None
        self._is_in_a_file = False
        self._begin()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def batches(self, shape: str, lines: Iterable[bytes], size: int) -> Iterator[Batch]:
        """Yield what one file's lines came to, `size` lines a batch; `shape` is one of `formats.FORMATS`.

        Raises ImportFailed when the process was ended from outside, or the lines cannot be read."""
        import msgspec

        from ingest.logs.batch import Batch

        if self._is_in_a_file:
            self._end()
            self._begin()
        self._is_in_a_file = True
        decode = msgspec.msgpack.Decoder(Batch).decode
        pipe, faults = self._pipe, list[Exception]()
        fed = (pipe, self._process, shape, lines, size, faults)
        self._feeding = feeding = threading.Thread(target=_feed, args=fed, daemon=True, name="feeding")
        feeding.start()
        try:
            while encoded := pipe.recv_bytes():
                yield decode(encoded)
        except (EOFError, ConnectionResetError):
            if faults:
                raise ImportFailed(f"the lines cannot be read: {faults[0]}") from faults[0]
            raise ImportFailed("the process that reads the lines was ended; run the import again, it goes on") from None
        feeding.join()
        self._is_in_a_file = False

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._task), daemon=True, name="reading")
        self._process.start()
        theirs.close()

    def _end(self) -> None:
        self._process.terminate()
        self._process.join()
        if self._feeding is None or not self._feeding.is_alive():
            self._pipe.close()  # else its thread, which may wait for a line, finds that nobody listens


def _feed(
    pipe: Connection, process: BaseProcess, shape: str, lines: Iterable[bytes], size: int, faults: list[Exception]
) -> None:
    """Send the lines, `size` at a time. If they cannot be read, add why to `faults`, and end the process."""
    rest = iter(lines)
    try:
        with suppress(OSError):  # the worker has ended: `batches` says so
            pipe.send(shape)
            while some := list(islice(rest, size)):
                pipe.send(some)
            pipe.send(None)
    except Exception as error:
        faults.append(error)
        process.terminate()  # so that `batches` waits no longer


def _serve(pipe: Connection, task: Task) -> None:
    """Read what comes until the pipe ends: a shape, then lines in lists, then None; and again for the next file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command drains the pipe
    gc.disable()  # lines leave no cycles
    from ingest.logs.trust import trusting

    with suppress(EOFError, OSError), trusting(task.proxies):
        _read(pipe, task)


def _read(pipe: Connection, task: Task) -> None:
    import maxminddb
    import msgspec

    from activity.user_agent import parse
    from ingest.logs.reader import batches, reader

    parse("-/-")  # builds its matchers, before there is anything to do
    places = maxminddb.open_database(str(task.geo)) if task.geo else None
    encode = msgspec.msgpack.Encoder().encode
    while True:
        shape = pipe.recv()
        for batch in batches(iter(pipe.recv, None), reader(shape, task.site, task.key, task.received_at, places)):
            pipe.send_bytes(encode(batch))
        pipe.send_bytes(b"")
