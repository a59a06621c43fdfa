"""`footfall import`: the command, around `ingest.logs`."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infra.commands import migration
from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings
from ingest.logs import formats
from ingest.logs.files import ImportFailed, LogFile, detected, named, opened

if TYPE_CHECKING:
    from activity.enrich import SiteRules
    from brokers.base import Broker
    from infra.processes.session import Session
    from infra.wiring import Parts
    from ingest.logs.batch import Accepted
    from ingest.logs.importer import Importer, Tally
    from ingest.logs.worker import Worker

_BATCH = 40_000  # lines
_LOOKED_UP = 2_000  # lines of one lookup among the dead letters: beyond, its cost grows faster than their number
_LOADED = 60_000  # records that are worth a micro-batch: it is loaded while the next ones are read


def _one(_context: click.Context, _option: click.Parameter, sites: tuple[str, ...]) -> str:
    """Return the site that is named. Raises click.BadParameter where several are: the last would count silently."""
    if len(set(sites)) > 1:
        raise click.BadParameter(f"an import is of one site, and these are {', '.join(sites)}: run it once for each")
    return sites[-1]


@click.command("import", cls=SettingsCommand)
@click.argument("files", nargs=-1, required=True, metavar="[PRODUCT] FILE...")
@click.option(
    "--site", required=True, multiple=True, callback=_one, metavar="DOMAIN", help="The site that the lines are about."
)
@click.option(
    "--format",
    "shape",
    type=click.Choice(["auto", *formats.FORMATS]),
    default="auto",
    show_default=True,
    help="combined, common: Apache, nginx. json: any server's. w3c: IIS, CloudFront. alb, elb, s3: Amazon. haproxy. "
    "squid, uwsgi, gin, chi, bunny, gorouter, iis-native: what these write. logfmt, ltsv: names and values. "
    "events: own events with ts and visitor.",
)
@click.option(
    "--log-format",
    metavar="STRING",
    help="The server's own format string, as nginx ($remote_addr …) or Apache (%h …) has it, instead of --format.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be read: format, first events, counts. Take nothing.")
@migration.with_their_site
@with_json
@with_settings
def import_(
    settings: Settings,
    files: tuple[str, ...],
    site: str,
    shape: str,
    log_format: str | None,
    dry_run: bool,
    their_site: str,
    day: datetime | None,
    as_json: bool,
) -> None:
    """Import access logs, or JSON lines of own events, from FILEs.

    A FILE may be packed (gzip, bzip2, xz, zstd, zip, tar), a pattern (`*`) or `-` for stdin; rotated files of one
    log are read oldest first, and the format is found by itself.

    With PRODUCT (plausible, umami, matomo, ga4 or goatcounter) FILEs are an export that it made, see docs/migrate.md.

    A log line becomes a page view when it is a GET, was answered by 2xx or 304 and is no asset. Every line is one
    of: accepted, duplicate (imported before), refused (with a reason), not understood. Bots are accepted and
    counted apart. Importing a file again adds nothing, also after an import that was broken off. A file that cannot
    be read, breaks off, or has no line of its form keeps no other from being imported; the exit status is then 1.
    """
    from infra import startup
    from infra.processes.session import session
    from infra.wiring import Parts
    from ingest.logs.importer import Importer
    from ingest.logs.worker import Task, Worker

    begun = time.monotonic()
    shape = _shape(shape, log_format)
    startup.collect_rarely()
    product, files = migration.product_of(files, shape, their_site, day)
    if product and dry_run:
        raise click.UsageError("--dry-run is for logs: `footfall compare` shows what an export says, and takes nothing")
    with ExitStack() as stack:
        parts = stack.enter_context(Parts(settings))
        rules, key = _site(parts, site)
        task = Task(rules, key, time.time_ns() // 1_000_000, settings.geo if parts.places else None, settings.proxies)
        if task.proxies and not product:
            click.echo(f"X-Forwarded-For counts where it comes from {', '.join(task.proxies)} (--proxies)", err=True)
        worker = None if product else stack.enter_context(Worker(task))
        try:
            exported = migration.Exported(product, files, rules.domain, their_site, day) if product else None
            names = [] if product else named(files)
            if dry_run:
                assert worker is not None
                _show(worker, names, shape, as_json)
                return
            _one_of_them_opens(names)
            work = stack.enter_context(session(settings, "footfall import", parts=parts))
            parts.create_topics()
            loading = stack.enter_context(_Loading(work, site, parts.broker))
            importer = Importer(parts.broker, _Stored(work, site, loading), task.received_at, rules.domain)
            if exported and exported.of_days:
                migration.take_days(exported.rows, importer, product, task, work)
            elif exported:
                migration.take(exported.rows(), importer, product, task, loading.load_when_many)
            for name in names:
                assert worker is not None
                try:
                    with opened(name) as source:
                        _import_file(importer, worker, loading, source, shape)
                except ImportFailed as error:
                    importer.untaken.append(str(error))
        except ImportFailed as error:
            raise Failed(str(error)) from error
        click.echo("waiting for the numbers", err=True)
        loading.wait()
        _finish(work.call("reconcile", {}))
    importer.tally.seconds = round(time.monotonic() - begun, 3)
    _report(importer, as_json)
    if importer.untaken:
        raise Failed("\n".join(importer.untaken))


def _import_file(importer: Importer, worker: Worker, loading: _Loading, source: LogFile, shape: str) -> None:
    """Import one file behind a progress bar.

    Raises ImportFailed where the file is not what it should be; what came before is imported."""
    name = source.name
    shape, pieces = _opened_as(source, shape)
    begun = time.monotonic()
    # Of stdin nobody knows the length: the bar then shows that something moves.
    endless: Iterator[Any] | None = itertools.count() if source.size is None else None
    with click.progressbar(
        endless, source.size, label=name, file=sys.stderr, item_show_func=lambda text: str(text or "")
    ) as bar:
        for read in importer.read(name, shape, worker.batches(shape, pieces, _BATCH)):
            loading.load_when_many(importer.published)
            rate = read / max(time.monotonic() - begun, 0.001)
            bar.update(source.advanced(), f"{rate:,.0f} lines/s")
    _tell_remarks(source)
    if source.fault is not None:
        raise ImportFailed(
            f"{name} breaks off: {source.fault}. What came before is imported; mend the file and run it again."
        )


def _one_of_them_opens(names: list[str]) -> None:
    """Raise ImportFailed where not one of these files can be opened: then nothing has to be begun."""
    wrong = []
    for name in names:
        if name == "-" or Path(name).is_fifo():  # to be opened once
            return
        try:
            with opened(name):
                return
        except ImportFailed as error:
            wrong.append(str(error))
    if wrong:
        raise ImportFailed("\n".join(wrong))


def _tell_remarks(source: LogFile) -> None:
    for remark in source.remarks:
        click.echo(f"{source.name}: {remark}", err=True)


def _opened_as(source: LogFile, shape: str) -> tuple[str, Iterator[bytes]]:
    """Return a file's shape, found where `shape` is auto, and its lines in pieces."""
    if shape != "auto":
        return shape, iter(source)
    found, pieces = detected(source)
    click.echo(f"{source.name}: {found}", err=True)
    return found, pieces


def _shape(shape: str, log_format: str | None) -> str:
    if log_format is None:
        return shape
    if shape != "auto":
        raise click.UsageError("--format and --log-format exclude each other")
    try:
        formats.parser(f"layout {log_format}")
    except formats.BadLayout as error:
        raise click.UsageError(f"this --log-format cannot be used: {error}") from error
    return f"layout {log_format}"


def _show(worker: Worker, names: Iterable[str], shape: str, as_json: bool) -> None:
    """Show what would be read. Raises Failed where nothing could be taken of a file, or one breaks off."""
    wrong = []
    for name in names:
        try:
            with opened(name) as source:
                wrong += _show_file(worker, source, shape, as_json)
        except ImportFailed as error:
            wrong.append(str(error))
    if wrong:
        raise Failed("\n".join(wrong))


def _show_file(worker: Worker, source: LogFile, shape: str, as_json: bool) -> list[str]:
    """Show what would be read of one file, and return what is wrong with it."""
    from ingest.logs.preview import Preview

    wrong = []
    shape, pieces = _opened_as(source, shape)
    preview = Preview(source.name, shape)
    preview.read(worker.batches(shape, pieces, _BATCH))
    _tell_remarks(source)
    if source.fault is not None:
        wrong.append(f"{source.name} breaks off: {source.fault}")
    if preview.tally.nothing_taken():
        wrong.append(f"{source.name}: not one line would be taken as {shape}")
    if as_json:
        click.echo(json.dumps(preview.as_json()))
        return wrong
    click.echo(f"{source.name}: {shape}")
    for event in preview.events:
        at = datetime.fromtimestamp(event.occurred_at / 1000, UTC)
        more = [event.referrer and f"from {event.referrer}", event.browser, event.os, event.bot and "bot"]
        click.echo(f"  {at:%Y-%m-%d %H:%M:%S}Z  {event.url}  {', '.join(filter(None, more))}")
    for example in preview.examples:
        click.echo(f"  {example}")
    click.echo(_counts(preview.tally, "would be "))
    return wrong


class _Stored:
    """What is stored already, as the owner of the warehouse says."""

    def __init__(self, work: Session, site: str, loading: _Loading) -> None:
        self._work = work
        self._site = site
        self._loading = loading

    def events(self, accepted: Accepted) -> Collection[int]:
        if not self._loading.holds_events():
            return ()
        ids = [int(its_id, 16) for its_id in accepted.ids]
        keys = {
            "site": self._site,
            "visitor": [int(visitor, 16) for visitor in accepted.visitors],
            "id_hi": [number >> 64 for number in ids],
            "id_lo": [number & (2**64 - 1) for number in ids],
        }
        return frozenset(next(iter(self._work.call("known", keys)))["known"])

    def dead_letters(self, lines: list[str]) -> Collection[int]:
        from ingest.logs.batch import WHERE

        found: set[int] = set()
        for start in range(0, len(lines), _LOOKED_UP):
            some = {"where": WHERE, "lines": lines[start : start + _LOOKED_UP]}
            found.update(start + index for index in next(iter(self._work.call("stored-dead-letters", some)))["known"])
        return found


class _Loading:
    """Loads what was published beside the reading and publishing, in micro-batches of all that came since the last."""

    def __init__(self, work: Session, site: str, broker: Broker) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, "loading")
        self._holds = self._thread.submit(self._begin, site, _holds_records(broker))
        self._last: Future[None] = self._thread.submit(work.prepare)
        self._loaded = 0

    def __enter__(self) -> _Loading:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def holds_events(self) -> bool:
        """Return whether any event of the site was stored before the import.

        If not, no lookup is needed: what is stored while the import runs is its own. What another import left in the
        log counts as imported before."""
        return self._holds.result()

    def _begin(self, site: str, left_over: bool) -> bool:
        if left_over:
            self._work.prepare()
            self._load()
        return bool(next(iter(self._work.call("holds", {"site": site})))["holds"])

    def load_when_many(self, published: int) -> None:
        """Begin a micro-batch when enough of the `published` records wait for one and none is under way."""
        if published - self._loaded >= _LOADED and self._last.done():
            self._last.result()
            self._last = self._thread.submit(self._load)
            self._loaded = published

    def wait(self) -> None:
        """Return when everything that lies in the log is in the numbers."""
        self._last.result()
        self._load()

    def _load(self) -> None:
        _finish(self._work.call("load", {}))


def _holds_records(broker: Broker) -> bool:
    from activity.event import DEAD_LETTER_TOPIC, TOPICS
    from brokers.base import TopicPartition

    topics = (*TOPICS, DEAD_LETTER_TOPIC)
    return any(
        broker.bounds(TopicPartition(topic, number)) for topic in topics for number in range(broker.partitions(topic))
    )


def _site(parts: Parts, domain: str) -> tuple[SiteRules, bytes]:
    found = parts.sites.get(domain)
    if found is None:
        have = ", ".join(sorted(site.domain for site in parts.sites.all())) or "none yet"
        raise Failed(f"site {domain!r} is not known (known: {have}). Add it first: footfall site add {domain}")
    # What has expired stays away, also where the site keeps more by now: such lines are refused in words.
    from msgspec.structs import replace

    from pipeline import erasure

    gone = erasure.load(parts.checkpoint).expired_before(found.domain)
    return replace(found.rules(), expired_before=gone), parts.live.import_key(found.domain)


def _finish(lines: Iterable[object]) -> None:
    for _ in lines:
        pass


def _report(importer: Importer, as_json: bool) -> None:
    tally = importer.tally
    for example in importer.examples:
        click.echo(example, err=True)
    if as_json:
        keys = ("lines", "accepted", "duplicates", "bots", "refused", "not_understood", "seconds")
        line = {key: getattr(tally, key) for key in keys}
        click.echo(json.dumps(line | {"searches": tally.searches, "reasons": tally.reasons}))
        return
    click.echo(
        f"{tally.lines:,} lines in {tally.seconds:.1f} s ({tally.lines / max(tally.seconds, 0.001):,.0f} lines/s)\n"
        + _counts(tally)
    )


def _counts(tally: Tally, verb: str = "") -> str:
    why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(tally.reasons.items()))
    kept = f", {verb}kept as dead letters" if tally.not_understood else ""
    return (
        f"  {tally.accepted:,} {verb}accepted, {tally.bots:,} of them by bots, {tally.searches:,} with a search\n"
        f"  {tally.duplicates:,} duplicates{': imported before' if not verb else ' in the file'}\n"
        f"  {tally.refused:,} {verb}refused{f': {why}' if why else ''}\n"
        f"  {tally.not_understood:,} not understood{kept}"
    )
