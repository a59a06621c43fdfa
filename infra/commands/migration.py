"""What `footfall import` does with the export of another product."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.migration import PRODUCTS

if TYPE_CHECKING:
    from infra.processes.session import Session
    from ingest.logs.importer import Importer
    from ingest.logs.worker import Task
    from ingest.migration.export import Read
    from ingest.migration.totals import Counted, PartDay

_BATCH = 5_000  # rows
DAY = click.DateTime(["%Y-%m-%d"])


def with_their_site(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags that choose one of several sites in an export, and say of which day it is."""
    site = "Of PRODUCT's sites in the export, the id of the one to take (where there are several)."
    day = "The day that the export is of, where it does not say that itself (Umami's of a range)."
    command = click.option("--day", type=DAY, metavar="YYYY-MM-DD", help=day)(command)
    return click.option("--their-site", default="", metavar="ID", help=site)(command)


def product_of(
    names: tuple[str, ...], shape: str, their_site: str, day: datetime | None
) -> tuple[str, tuple[str, ...]]:
    """Returns the product whose export the files are, "" for logs, and the files.

    Raises `click.UsageError` where none is named, and where an option is given that is of the other sort."""
    if names[0] not in PRODUCTS or (len(names) == 1 and Path(names[0]).is_file()):
        if their_site:
            raise click.UsageError(f"--their-site is for the export of a product: {', '.join(PRODUCTS)}")
        if day:
            raise click.UsageError("--day is for an export that does not say of which day it is: log lines have times")
        return "", names
    if shape != "auto":
        raise click.UsageError(f"--format is for logs, and {names[0]}'s export has its own: leave it out")
    if len(names) == 1:
        raise click.UsageError(f"name the files of the export: footfall import {names[0]} FILE… --site DOMAIN")
    return names[0], names[1:]


class Exported:
    """An export, and what reads it. Raises `ImportFailed` where a file is not there or no such export."""

    def __init__(self, product: str, names: Sequence[str], site: str, their_site: str, day: datetime | None) -> None:
        from ingest.migration import ga4, goatcounter_json, matomo, plausible, umami
        from ingest.migration.members import members

        self.members = members(names)
        self._product, self._site, self._theirs = product, site, their_site
        self._told: set[str] = set()
        self._day = day.date() if day else None
        self.of_days = True  # whether it has totals of days and no events
        if self._day:
            if product != "umami" or not umami.day.is_it(self.members):
                raise click.UsageError("--day is for Umami's export of a range: this one has days itself")
            self._read: Callable[..., Iterator[Any]] = umami.day.read
        elif product == "ga4" and all(ga4.reports.is_report(member) for member in self.members):
            self._read = ga4.reports.read
        elif product == "goatcounter" and goatcounter_json.is_totals(self.members):
            self._read = goatcounter_json.read
        elif product == "goatcounter" and goatcounter_json.is_answer(self.members):
            self._read = goatcounter_json.read_answers
        elif product == "umami" and umami.answers.is_series(self.members):
            self._read = umami.answers.read
        elif product == "matomo" and matomo.days.is_it(self.members):
            self._read = matomo.days.read
        elif product == "plausible" and plausible.events.is_it(self.members):
            self._read, self.of_days = plausible.events.read, False
        else:
            self._read = importlib.import_module(f"ingest.migration.{product}").read
            self.of_days = product == "plausible"
        if their_site and ((self.of_days and product != "matomo") or product == "goatcounter"):
            raise click.UsageError("--their-site chooses among several sites, and this export is of one: leave it out")

    def rows(self) -> Iterator[Any]:
        """Yields what its rows say: each is a `Read`, or a `Counted` where these are totals of days."""
        from ingest.logs.files import ImportFailed
        from ingest.migration import looks

        try:
            if self._day:
                yield from self._read(self.members, self._tell, self._day)
            else:
                yield from self._read(self.members, self._site, self._theirs, self._tell)
        except ImportFailed as error:
            advice = looks.advice(self.members, self._product)
            raise ImportFailed(f"{str(error).removesuffix('.')}{advice}" if advice else str(error)) from error

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            click.echo(sentence, err=True)


def take_days(
    read: Callable[[], Iterator[Counted]], importer: Importer, product: str, task: Task, work: Session
) -> None:
    """Imports the totals of an export, which `read` reads from its beginning.

    A day that is stored as it is counts as duplicate. Refused are days that are yet to come (`in_future`) or that the
    site does not keep (`too_old`), those on which it has events of its own (`own_events`), and those that a later file
    has again (`in_later_file`)."""
    from ingest.migration.totals import columns, look, others

    tally, site = importer.tally, task.site
    looked = look(read())
    taken: dict[PartDay, int] = {}  # the file whose rows of it are written
    if looked.rows:
        days = sorted({day for _, day in looked.digests})
        asked = {"zone": site.timezone, "first": days[0].isoformat(), "last": days[-1].isoformat()}
        (stored,) = work.call("imported-days", {"site": site.domain, "product": product} | asked)
        digests = {(part, day): digest for part, day, digest in stored["digests"]}
        kept_since = datetime.fromtimestamp(site.kept_since(task.received_at) / 1000, UTC).date()
        tomorrow = datetime.fromtimestamp(task.received_at / 1000, UTC).date() + timedelta(1)
        for (file, part, day), rows in looked.rows.items():
            its = [(each, day) for each in looked.parts[file, part, day] if looked.files[each, day] == file]
            new = [key for key in its if digests.get((key[0], day.isoformat())) != looked.digests[key]]
            if day > tomorrow:  # such as one that a spreadsheet has turned round
                _refuse(importer, "in_future", rows)
            elif day < kept_since:
                _refuse(importer, "too_old", rows)
            elif day.isoformat() in stored["own"]:
                _refuse(importer, "own_events", rows)
            elif not its:
                _refuse(importer, "in_later_file", rows)
            elif not new:
                tally.duplicates += rows
            else:
                taken |= dict.fromkeys(new, file)
                tally.accepted += rows
    tally.lines += sum(looked.rows.values())
    importer.take(others(looked), product)
    if looked.broken and not looked.rows:
        importer.untaken.append(f"not one row was taken as {product}'s; see the lines above")
    if taken:
        version = {"site": site.domain, "product": product, "version": stored["version"]}
        for block, rows_of in enumerate(columns(read(), taken, _BATCH)):
            _finish(work.call("write-days", version | {"block": block, "rows": rows_of}))
        counted = [[part, day.isoformat(), looked.digests[part, day]] for part, day in taken]
        _finish(work.call("count-days", version | {"digests": counted}))


def _refuse(importer: Importer, reason: str, rows: int) -> None:
    importer.tally.refused += rows
    importer.tally.reasons[reason] = importer.tally.reasons.get(reason, 0) + rows


def _finish(lines: Iterable[object]) -> None:
    for _ in lines:
        pass


def take(
    exported: Iterator[Read], importer: Importer, product: str, task: Task, published: Callable[[int], None]
) -> None:
    """Imports the rows behind a progress bar; `published` hears how many records there are so far."""
    from ingest.migration.events import batches

    begun = time.monotonic()
    label = f"{product}'s export"
    # Nobody knows how many rows there are: the bar shows that something moves.
    endless: Iterator[Any] = itertools.count()
    with click.progressbar(
        endless, label=label, file=sys.stderr, item_show_func=lambda text: str(text or "")
    ) as bar:
        read = batches(exported, task.site, task.key, task.received_at, _BATCH)
        for count in importer.read(label, product, read):
            published(importer.published)
            bar.update(1, f"{count:,} rows, {count / max(time.monotonic() - begun, 0.001):,.0f}/s")
