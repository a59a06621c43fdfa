"""`footfall replay` and `footfall reconcile`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from infra.flags import SettingsCommand, with_json, with_settings
from infra.settings import Settings

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command(cls=SettingsCommand)
@click.option("--from", "first", type=_DAY, required=True, metavar="YYYY-MM-DD", help="First day (UTC), included.")
@click.option("--to", "last", type=_DAY, required=True, metavar="YYYY-MM-DD", help="Last day (UTC), included.")
@click.option("--site", metavar="DOMAIN", help="Only this site; all of them otherwise.")
@click.option(
    "--source", type=click.Choice(["broker", "archive"]), default="broker", show_default=True, help="Raw events from."
)
@click.option("--dry-run", is_flag=True, help="Rebuild and compare, change nothing.")
@with_json
@with_settings
def replay(
    settings: Settings,
    first: datetime,
    last: datetime,
    site: str | None,
    source: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Rebuild events, sessions and metrics of some days from the raw events, compare, and put them in place.

    Prints a line a site and day with the digest of its sessions, and whether the stored events, sessions and rollups
    were equal. Exit status 1 when a day was not: it is now, unless --dry-run.
    """
    from infra.session import session

    if last < first:
        raise click.UsageError("--to lies before --from")
    arguments = {
        "first": first.date().isoformat(),
        "last": last.date().isoformat(),
        "site": site,
        "source": source,
        "dry_run": dry_run,
    }
    unequal = days = 0
    with session(settings, "footfall replay") as work:
        for line in work.call("replay", arguments):
            if "read" in line:
                click.echo(f"\r{line['read']:,} events read", nl=False, err=True)
                continue
            if not days:
                click.echo(err=True)
            days += 1
            unequal += not line["equal"]
            click.echo(json.dumps(line) if as_json else _told(line))
    if not days:
        click.echo("no event of these days", err=True)
    raise click.exceptions.Exit(1 if unequal else 0)


@click.command(cls=SettingsCommand)
@with_json
@with_settings
def reconcile(settings: Settings, as_json: bool) -> None:
    """Rebuild the visitor-days that late events reached, now. `up` does so every ten minutes by itself."""
    from infra.session import session

    with session(settings, "footfall reconcile") as work:
        for line in work.call("reconcile", {}):
            told = f"{line['marks']} visitor-days were marked, {line['changed']} session rows changed"
            click.echo(json.dumps(line) if as_json else told)


def _told(line: dict[str, Any]) -> str:
    equal = "equal" if line["equal"] else f"NOT EQUAL to what was stored: {', '.join(line['differs'])}"
    return (
        f"{line['day']} {line['site']}: {line['events']} events, {line['sessions']} sessions, "
        f"{line['visitors']} visitors, sha256 {line['sha256']}, {equal}"
    )
