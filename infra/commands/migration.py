"""What `footfall import` does with the export of another product."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ingest.logs.importer import Importer
    from ingest.logs.worker import Task
    from ingest.migration.export import Read

PRODUCTS = ("umami", "matomo", "ga4", "goatcounter")
_BATCH = 5_000  # rows


def with_their_site(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flag that chooses one of several sites in an export."""
    text = "Of PRODUCT's sites in the export, the id of the one to take (where there are several)."
    return click.option("--their-site", default="", metavar="ID", help=text)(command)


def product_of(names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Returns the product whose export the files are, "" for logs, and the files."""
    if names[0] not in PRODUCTS or (len(names) == 1 and _is_file(names[0])):
        return "", names
    if len(names) == 1:
        raise click.UsageError(f"name the files of the export: footfall import {names[0]} FILE… --site DOMAIN")
    return names[0], names[1:]


def _is_file(name: str) -> bool:
    return Path(name).is_file()


def rows(product: str, names: Sequence[str], site: str, their_site: str) -> Iterator[Read]:
    """Returns what the rows of an export say. Raises `ImportFailed` where a file is not there or no such export."""
    from ingest.migration import export

    reader = importlib.import_module(f"ingest.migration.{product}")
    told: set[str] = set()

    def tell(sentence: str) -> None:
        if sentence not in told:
            told.add(sentence)
            click.echo(sentence, err=True)

    found: Iterator[Read] = reader.read(export.members(names), site, their_site, tell)
    return found


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
