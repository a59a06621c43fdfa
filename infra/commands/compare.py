"""`footfall compare`: the days of another product's export beside our own."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from infra.commands import migration
from infra.commands.flags import SettingsCommand, refuse_unknown_site, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings
from ingest.migration import PRODUCTS

_NAMES = ("visitors", "visits", "pageviews")
_NOTHING = dict.fromkeys(_NAMES, 0)


@click.command(cls=SettingsCommand)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--site", required=True, metavar="DOMAIN", help="The site that was counted by both.")
@click.option("--with", "product", type=click.Choice(PRODUCTS), required=True, help="Whose export FILE is.")
@click.option("--from", "first", type=migration.DAY, metavar="YYYY-MM-DD", help="First day; the export's by default.")
@click.option("--to", "last", type=migration.DAY, metavar="YYYY-MM-DD", help="Last day; the export's by default.")
@migration.with_their_site
@with_json
@with_settings
def compare(
    settings: Settings,
    files: tuple[str, ...],
    site: str,
    product: str,
    first: datetime | None,
    last: datetime | None,
    their_site: str,
    day: datetime | None,
    as_json: bool,
) -> None:
    """Compare the export of another product with our numbers, day by day, and import nothing.

    FILEs are as for `footfall import PRODUCT`. Prints a line a day of the site's time zone: visitors, visits and page
    views, theirs, ours and the difference; null is what the export does not tell. Numbers that were imported as such
    are not ours. Exit status 1 if nothing of the export could be read, or no day is to be compared.
    """
    from infra.processes.session import session
    from ingest.logs.files import ImportFailed
    from ingest.migration.daily import by_day

    if first and last and last < first:
        raise click.UsageError("--to is before --from")
    with session(settings, "footfall compare") as work:
        refuse_unknown_site(work, site)
        zone = next(iter(work.call("zone", {"site": site})))["zone"]
        try:
            theirs = by_day(migration.Exported(product, files, site, their_site, day).rows(), zone)
        except ImportFailed as error:
            raise Failed(str(error)) from error
        if theirs.not_understood or theirs.refused:
            what = f"{theirs.refused:,} of {theirs.read:,} rows say nothing of a day, {theirs.not_understood:,} are not"
            click.echo(f"{what} understood{f' ({theirs.first_broken})' if theirs.first_broken else ''}", err=True)
        if not theirs.days:
            raise Failed(
                "no row of the export says how many visitors, visits or page views a day had: give the file that does"
            )
        begin = first.date() if first else min(theirs.days)
        end = last.date() if last else max(theirs.days)
        asked = {"site": site, "zone": zone, "first": begin.isoformat(), "last": end.isoformat()}
        ours = {line.pop("day"): line for line in work.call("daily", asked)}
    days = {its.isoformat(): asdict(numbers) for its, numbers in theirs.days.items() if begin <= its <= end}
    if not ours:
        which = f"from {begin} to {end}; what was imported as numbers is not ours"
        click.echo(f"{site} has no events of its own {which}", err=True)
    if not days and not ours:
        raise Failed(f"there is nothing to compare: the export is of {min(theirs.days)} to {max(theirs.days)}")
    for its_day in sorted({*days, *ours}):
        line = _line(its_day, days.get(its_day, _NOTHING), ours.get(its_day, _NOTHING), theirs.untold)
        click.echo(json.dumps(line) if as_json else _told(line, product))


def _line(day: str, theirs: dict[str, int], ours: dict[str, int], untold: frozenset[str]) -> dict[str, Any]:
    """Returns the three of a day; what an export does not tell is None."""
    told = {name: None if name in untold else theirs[name] for name in _NAMES}
    difference = {name: None if number is None else ours[name] - number for name, number in told.items()}
    return {"day": day, "theirs": told, "ours": ours, "difference": difference}


def _told(line: dict[str, Any], product: str) -> str:
    told = []
    for name in _NAMES:
        theirs, ours, difference = (line[whose][name] for whose in ("theirs", "ours", "difference"))
        if theirs is None:
            told.append(f"{name} not told by {product}, here {ours:,}")
            continue
        share = f", {difference / theirs:+.1%}" if theirs else ""
        told.append(f"{name} {product} {theirs:,}, here {ours:,} ({difference:+,}{share})")
    return f"{line['day']}  " + "; ".join(told)
