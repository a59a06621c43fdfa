"""The process that reads an import's lines, while the command's own process publishes and loads.

It is a pure function with a memory: it opens no store, gets lines through a pipe and sends back what they came to, a
batch at a time and in order. It ends when the pipe does, so it never outlives the command.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ingest.logs.files import ImportFailed, lines_of

if TYPE_CHECKING:
    from activity.enrich import SiteRules
    from ingest.logs.batch import Batch

Got = TypeVar("Got")

_MOST = 64 << 20  # bytes of lines in a batch
_WAIT = 0.2  # seconds


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

    def batches(self, shape: str, pieces: Iterable[bytes], size: int) -> Iterator[Batch]:
        """Yield what one file's lines came to, `size` lines or some more a batch; `shape` is one of `formats.FORMATS`,
        and the lines come in pieces, see `LogFile`.

        Raises ImportFailed when the process was ended from outside, or the lines cannot be read."""
        import msgspec

        from ingest.logs.batch import Batch

        if self._is_in_a_file:
            self._end()
            self._begin()
        self._is_in_a_file = True
        decode = msgspec.msgpack.Decoder(Batch).decode
        pipe, faults = self._pipe, list[Exception]()
        fed = (pipe, self._process, (shape, size), pieces, faults)
        self._feeding = feeding = threading.Thread(target=_feed, args=fed, daemon=True, name="feeding")
        feeding.start()
        receiving = ThreadPoolExecutor(1, "receiving")
        try:
            yield from map(decode, ahead(receiving, pipe.recv_bytes))
        except (EOFError, ConnectionResetError):
            if faults:
                raise ImportFailed(f"the lines cannot be read: {faults[0]}") from faults[0]
            raise ImportFailed("the process that reads the lines was ended; run the import again, it goes on") from None
        finally:
            receiving.shutdown(wait=False)  # in the middle of a file it ends with the process
        feeding.join()
        self._is_in_a_file = False

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._task), daemon=True, name="reading")
        resource_tracker.ensure_running()  # which unblocks SIGINT when it begins
        # Ctrl-C reaches a whole group, and the command ends the process. What is blocked here is blocked in there.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def _end(self) -> None:
        self._process.terminate()
        self._process.join()
        if self._feeding is None or not self._feeding.is_alive():
            self._pipe.close()  # else its thread, which may wait for a line, finds that nobody listens


def _feed(
    pipe: Connection, process: BaseProcess, file: tuple[str, int], pieces: Iterable[bytes], faults: list[Exception]
) -> None:
    """Send a file's shape and size of batches, and its lines. If they cannot be read, add why to `faults`, and end the
    process."""
    try:
        with suppress(OSError):  # the worker has ended: `batches` says so
            pipe.send(file)
            for piece in pieces:
                pipe.send_bytes(piece)
            pipe.send_bytes(b"")
    except Exception as error:
        faults.append(error)
        process.terminate()  # so that `batches` waits no longer


def _serve(pipe: Connection, task: Task) -> None:
    """Read what comes until the pipe ends: a shape and how many lines make a batch, then lines in pieces, of which an
    empty one is the end; and again for the next file."""
    os.putenv("POLARS_MAX_THREADS", "1")  # its frames are small: more threads wait for each other most of the time
    gc.disable()  # lines leave no cycles
    from ingest.logs.trust import trusting

    try:
        with suppress(EOFError, ConnectionError), trusting(task.proxies):  # the command has ended
            _read(pipe, task)
    except Exception:
        traceback.print_exc()
        os._exit(1)  # else its threads are waited for, which wait for the next lines


def _read(pipe: Connection, task: Task) -> None:
    import maxminddb
    import msgspec

    from activity.user_agent import parse
    from ingest.logs.reader import batches, reader

    parse("-/-")  # builds its matchers, before there is anything to do
    places = maxminddb.open_database(str(task.geo)) if task.geo else None
    encode = msgspec.msgpack.Encoder().encode
    # What comes and what goes is under way while lines are read: the command is busy with other things, too.
    receiving, sending = ThreadPoolExecutor(1, "receiving"), ThreadPoolExecutor(1, "sending")
    while True:
        shape, size = pipe.recv()
        sent: Future[object] = sending.submit(bool)
        lines = ahead(receiving, partial(next, _many(pipe, size), None))
        for batch in batches(lines, reader(shape, task.site, task.key, task.received_at, places)):
            encoded = encode(batch)
            sent.result()
            sent = sending.submit(pipe.send_bytes, encoded)
        sent.result()
        pipe.send_bytes(b"")


def ahead(thread: ThreadPoolExecutor, get: Callable[[], Got]) -> Iterator[Got]:
    """Yield what `get` returns until it is nothing, each got by the thread while the one before is worked on."""
    coming = thread.submit(get)
    while got := _awaited(coming):
        coming = thread.submit(get)
        yield got


def _awaited(coming: Future[Got]) -> Got:
    """Return what comes. Each wait is short: where a library has set a handler of signals, none of them ends a wait."""
    while coming not in wait([coming], _WAIT).done:
        pass  # Ctrl-C is raised here
    return coming.result()


def _many(pipe: Connection, size: int) -> Iterator[list[bytes]]:
    """Yield the lines that come, at least `size` at a time, or fewer that take much memory."""
    lines: list[bytes] = []
    taken = 0
    while piece := pipe.recv_bytes():
        lines += lines_of(piece)
        taken += len(piece)
        if len(lines) >= size or taken >= _MOST:
            yield lines
            lines, taken = [], 0
    if lines:
        yield lines
