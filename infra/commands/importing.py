"""`footfall import`."""

from __future__ import annotations

import gc
import gzip
import io
import itertools
import json
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from infra import access_log
from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings

if TYPE_CHECKING:
    from activity.enrich import SiteRules
    from brokers.base import Broker, Record
    from infra.fragments import Made
    from infra.importing import Batch
    from infra.processes.session import Session
    from infra.reading import Reading, Task
    from infra.wiring import Parts

_BATCH = 10_000  # lines
_LOADED = 200_000  # records: as many as a micro-batch takes
_GARBAGE = 50_000  # objects between two looks for garbage: records come by the ten thousand, and none is a cycle
_SHOWN = 5
_SNIFFED = 100  # lines that are neither empty nor a comment
_SNIFFED_AT_MOST = 10_000
_LONGEST = 1_000_000  # bytes of a line that are read, as of a request's body
_OF_REQUESTS = frozenset(("method", "status", "asset", "too_old"))  # why a line is refused that was understood
_SAYING_NOTHING = frozenset(("empty", "comment"))
_HOPELESS = 10_000  # lines without a single one understood: this is no such file


@click.command("import", cls=SettingsCommand)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--site", required=True, metavar="DOMAIN", help="The site that the lines are about.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["auto", *access_log.FORMATS]),
    default="auto",
    show_default=True,
    help="combined, common: Apache, nginx. json: nginx's variables. events: own events with ts and visitor.",
)
@with_json
@with_settings
def import_(settings: Settings, files: tuple[str, ...], site: str, shape: str, as_json: bool) -> None:
    """Import web-server logs, or JSON lines of own events, from FILEs (gzip too, `-` is stdin).

    A log line becomes a page view when it is a GET, was answered by 2xx or 304 and is no asset. Every line is one
    of: accepted, duplicate (imported before), refused (with a reason), not understood. Bots are accepted and
    counted apart. Importing a file again adds nothing, also after an import that was broken off. The exit status is
    1 when nothing of a file could be taken because its lines have another form.
    """
    from infra.processes.session import session
    from infra.reading import Reading, Task
    from infra.wiring import Parts

    begun = time.monotonic()
    gc.set_threshold(_GARBAGE)
    with ExitStack() as stack:
        parts = stack.enter_context(Parts(settings))
        rules, key = _site(parts, site)
        task = Task(rules, key, time.time_ns() // 1_000_000, settings.geo if parts.places else None)
        reading = stack.enter_context(Reading(task))
        opened = [stack.enter_context(_open(name)) for name in files]
        work = stack.enter_context(session(settings, "footfall import", parts=parts))
        parts.create_topics()
        loading = stack.enter_context(_Loading(work, site, parts.broker))
        run = _Import(parts, work, loading, reading, task)
        for name, source in zip(files, opened, strict=True):
            run.read(name, source, shape)
        click.echo("waiting for the numbers", err=True)
        loading.wait()
        _finish(work.call("reconcile", {}))
    run.tally.seconds = round(time.monotonic() - begun, 3)
    _report(run, as_json)
    if run.wrong:
        raise Failed("\n".join(run.wrong))


@dataclass
class _Tally:
    """What became of the lines; each is counted once in the first group."""

    lines: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    not_understood: int = 0

    bots: int = 0
    searches: int = 0
    seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)


class _Import:
    """One run over several files."""

    def __init__(self, parts: Parts, work: Session, loading: _Loading, reading: Reading, task: Task) -> None:
        self.tally = _Tally()
        self.examples: list[str] = []
        self.wrong: list[str] = []  # files of which nothing was taken, in words
        self._parts = parts
        self._work = work
        self._loading = loading
        self._reading = reading
        self._task = task
        self._seen: set[str] = set()

    def read(self, name: str, source: _Source, shape: str) -> None:
        lines = iter(source)
        if shape == "auto":
            first, telling = _sniffed(lines)
            found = access_log.detect(telling)
            if found is None and telling:
                raise Failed(f"{name}: no known format; its first line is {_shown(telling[0])}. See --format.")
            shape = found or "combined"
            lines = itertools.chain(first, lines)
            click.echo(f"{name}: {shape}", err=True)
        faults: list[Exception] = []
        begun, here, told, of_this_form, not_understood = time.monotonic(), 0, 0, 0, 0
        # Of stdin nobody knows the length: the bar then shows that something moves.
        endless: Iterator[Any] | None = itertools.count() if source.size is None else None
        with click.progressbar(
            endless, source.size, label=name, file=sys.stderr, item_show_func=lambda text: str(text or "")
        ) as bar:
            for batch in self._reading.batches(shape, _readable(lines, faults), _BATCH):
                self._take(batch)
                here += batch.lines
                of_this_form += len(batch.made) + sum(batch.refused.get(why, 0) for why in _OF_REQUESTS)
                not_understood += len(batch.not_understood)
                told += batch.lines - sum(batch.refused.get(why, 0) for why in _SAYING_NOTHING)
                if here >= _HOPELESS and not_understood == here:
                    raise Failed(f"{name}: not one of {here} lines is {shape}; see --format. {self.examples[0]}")
                rate = here / max(time.monotonic() - begun, 0.001)
                bar.update(source.advanced(), f"{rate:,.0f} lines/s")
        if told and not of_this_form:
            self.wrong.append(f"{name}: not one line was taken as {shape}; see the lines above, and --format")
        for fault in faults:
            raise Failed(f"{name} breaks off: {fault}. What came before is imported; mend the file and run it again.")

    def _take(self, batch: Batch) -> None:
        """Publish what is new of a batch; returns when it is durable."""
        tally = self.tally
        fresh = self._fresh(batch.made, self._loading.holds.result())
        letters = self._letters(batch)
        publish = [record for made in fresh for record in made.records]
        self._parts.broker.publish([*publish, *letters])
        self._loading.published(len(publish))
        tally.lines += batch.lines
        tally.accepted += len(fresh)
        tally.duplicates += len(batch.made) - len(fresh)
        tally.bots += sum(made.bot for made in fresh)
        tally.searches += sum(made.search for made in fresh)
        tally.refused += sum(batch.refused.values())
        for reason, count in batch.refused.items():
            tally.reasons[reason] = tally.reasons.get(reason, 0) + count
        tally.not_understood += len(batch.not_understood)
        shown = [f"line {number}: {_shown(line)} ({why})" for number, line, why in batch.not_understood]
        shown += [f"line {number}: {why}" for number, why in batch.refused_lines]
        self.examples += shown[: _SHOWN - len(self.examples)]

    def _fresh(self, made: list[Made], looks_up: bool) -> list[Made]:
        """Those whose event is neither stored nor came before in this run."""
        stored = self._stored(made) if made and looks_up else frozenset()
        fresh = []
        for index, one in enumerate(made):
            if index in stored or one.id in self._seen:
                continue
            self._seen.add(one.id)
            fresh.append(one)
        return fresh

    def _stored(self, made: list[Made]) -> frozenset[int]:
        ids = [int(one.id, 16) for one in made]
        keys = {
            "site": self._task.site.domain,
            "visitor": [int(one.visitor, 16) for one in made],
            "id_hi": [number >> 64 for number in ids],
            "id_lo": [number & (2**64 - 1) for number in ids],
        }
        return frozenset(next(iter(self._work.call("known", keys)))["known"])

    def _letters(self, batch: Batch) -> list[Record]:
        from infra.importing import WHERE, dead_letter, masked

        if not batch.not_understood:
            return []
        lines = [masked(line) for _, line, _ in batch.not_understood]
        stored = set(next(iter(self._work.call("letters", {"where": WHERE, "lines": lines})))["known"])
        return [
            dead_letter(line, f"not understood: {why}", self._task.received_at)
            for index, (line, (_, _, why)) in enumerate(zip(lines, batch.not_understood, strict=True))
            if index not in stored
        ]


class _Loading:
    """Loads what was published beside the publishing, in few large micro-batches rather than in many.

    `holds`: whether any event of the site is stored. If not, no look-up is needed: what is stored while the import
    runs is its own. What another import left in the log counts as imported before."""

    def __init__(self, work: Session, site: str, broker: Broker) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, "loading")
        self.holds = self._thread.submit(self._begin, site, _holds_records(broker))
        self._last: Future[None] = self._thread.submit(work.prepare)
        self._waiting = 0

    def __enter__(self) -> _Loading:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def _begin(self, site: str, left_over: bool) -> bool:
        if left_over:
            self._work.prepare()
            self._load()
        return bool(next(iter(self._work.call("holds", {"site": site})))["holds"])

    def published(self, records: int) -> None:
        self._waiting += records
        if self._waiting >= _LOADED and self._last.done():
            self._last.result()
            self._last = self._thread.submit(self._load)
            self._waiting = 0

    def wait(self) -> None:
        """Until everything that lies in the log is in the numbers."""
        self._last.result()
        self._load()

    def _load(self) -> None:
        _finish(self._work.call("load", {}))


class _Source:
    """A file's lines, unpacked where it is gzip, and how far its bytes have been read."""

    def __init__(self, raw: IO[bytes], size: int | None) -> None:
        self.size = size
        self._raw = raw
        self._before = 0
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
        packed = buffered.peek(2)[:2] == b"\x1f\x8b"
        self._lines: io.BufferedIOBase = gzip.GzipFile(fileobj=buffered) if packed else buffered

    def __iter__(self) -> Iterator[bytes]:
        read = self._lines.readline
        while line := read(_LONGEST):
            yield line
            while line and len(line) == _LONGEST and line[-1:] != b"\n":  # no such line is understood: the rest is left
                line = read(_LONGEST)

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def advanced(self) -> int:
        """Bytes read since the last call; 1 where nobody can tell, so that something moves."""
        if self.size is None:
            return 1
        now = self._raw.tell()
        step, self._before = now - self._before, now
        return step


def _open(name: str) -> _Source:
    if name == "-":
        return _Source(sys.stdin.buffer, None)
    path = Path(name)
    try:
        return _Source(path.open("rb"), path.stat().st_size)
    except OSError as error:
        raise Failed(f"{name} cannot be read: {error.strerror}") from error


def _sniffed(lines: Iterator[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The first lines, and those among them that tell the format."""
    first: list[bytes] = []
    telling: list[bytes] = []
    for line in itertools.islice(lines, _SNIFFED_AT_MOST):
        first.append(line)
        if line.strip() and not access_log.is_comment(line):
            telling.append(line)
            if len(telling) == _SNIFFED:
                break
    return first, telling


def _readable(lines: Iterator[bytes], faults: list[Exception]) -> Iterator[bytes]:
    """A file that breaks off, as a gzip may, gives what it has; why it ended is left in `faults`."""
    try:
        yield from lines
    except (EOFError, OSError, zlib.error) as error:
        faults.append(error)


def _holds_records(broker: Broker) -> bool:
    from activity.event import DEAD_LETTER_TOPIC, TOPICS

    topics = (*TOPICS, DEAD_LETTER_TOPIC)
    return any(broker.bounds(topic, number) for topic in topics for number in range(broker.partitions(topic)))


def _site(parts: Parts, domain: str) -> tuple[SiteRules, bytes]:
    known = parts.sites.get(domain)
    if known is None:
        have = ", ".join(sorted(site.domain for site in parts.sites.all())) or "none yet"
        raise Failed(f"site {domain!r} is not known (known: {have}). Add it first: footfall site add {domain}")
    return known.rules(), parts.live.import_key(known.domain)


def _finish(lines: Iterable[object]) -> None:
    for _ in lines:
        pass


def _shown(line: bytes) -> str:
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    return repr(text if len(text) <= 120 else text[:117] + "...")


def _report(run: _Import, as_json: bool) -> None:
    tally = run.tally
    for example in run.examples:
        click.echo(example, err=True)
    if as_json:
        keys = ("lines", "accepted", "duplicates", "bots", "refused", "not_understood", "seconds")
        line = {key: getattr(tally, key) for key in keys}
        click.echo(json.dumps(line | {"searches": tally.searches, "reasons": tally.reasons}))
        return
    why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(tally.reasons.items()))
    click.echo(
        f"{tally.lines:,} lines in {tally.seconds:.1f} s ({tally.lines / max(tally.seconds, 0.001):,.0f} lines/s)\n"
        f"  {tally.accepted:,} accepted, {tally.bots:,} of them by bots, {tally.searches:,} with a search\n"
        f"  {tally.duplicates:,} duplicates: imported before\n"
        f"  {tally.refused:,} refused{f': {why}' if why else ''}\n"
        f"  {tally.not_understood:,} not understood{', kept as dead letters' if tally.not_understood else ''}"
    )
