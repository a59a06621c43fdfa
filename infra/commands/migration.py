"""What `footfall import` does with the export of another product."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
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


def with_their_site(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flag that chooses one of several sites in an export."""
    text = "Of PRODUCT's sites in the export, the id of the one to take (where there are several)."
    return click.option("--their-site", default="", metavar="ID", help=text)(command)


def product_of(names: tuple[str, ...], shape: str, their_site: str) -> tuple[str, tuple[str, ...]]:
    """Returns the product whose export the files are, "" for logs, and the files.

    Raises `click.UsageError` where none is named, and where an option is given that is of the other sort."""
    if names[0] not in PRODUCTS or (len(names) == 1 and Path(names[0]).is_file()):
        if their_site:
            raise click.UsageError(f"--their-site is for the export of a product: {', '.join(PRODUCTS)}")
        return "", names
    if shape != "auto":
        raise click.UsageError(f"--format is for logs, and {names[0]}'s export has its own: leave it out")
    if len(names) == 1:
        raise click.UsageError(f"name the files of the export: footfall import {names[0]} FILE… --site DOMAIN")
    return names[0], names[1:]


def reader_of(product: str, names: Sequence[str]) -> tuple[str, bool]:
    """Returns the module that reads these files of a product, and whether they have totals of days and no events.

    Raises `ImportFailed` where a file is not there."""
    from ingest.migration import export, ga4_reports, goatcounter_json

    if product == "ga4" and all(ga4_reports.is_report(member) for member in export.members(names)):
        return "ga4_reports", True
    if product == "goatcounter" and goatcounter_json.is_totals(export.members(names)):
        return "goatcounter_json", True
    return product, product == "plausible"


def rows(product: str, names: Sequence[str], site: str, their_site: str) -> Iterator[Any]:
    """Returns what the rows of an export say: each is a `Read`, or a `Counted` where these are totals of days.

    Raises `ImportFailed` where a file is not there or no such export."""
    from ingest.migration import export

    reader = importlib.import_module(f"ingest.migration.{reader_of(product, names)[0]}")
    told: set[str] = set()

    def tell(sentence: str) -> None:
        if sentence not in told:
            told.add(sentence)
            click.echo(sentence, err=True)

    found: Iterator[Any] = reader.read(export.members(names), site, their_site, tell)
    return found


def take_days(
    read: Callable[[], Iterator[Counted]], importer: Importer, product: str, task: Task, work: Session
) -> None:
    """Imports the totals of an export, which `read` reads from its beginning.

    A day that is stored as it is counts as duplicate. Refused are days that the site does not keep (`too_old`), those
    on which it has events of its own (`own_events`), and those that a later file has again (`in_later_file`)."""
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
        for (file, part, day), rows in looked.rows.items():
            its = [(each, day) for each in looked.parts[file, part, day] if looked.files[each, day] == file]
            new = [key for key in its if digests.get((key[0], day.isoformat())) != looked.digests[key]]
            if day < kept_since:
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
