"""`footfall forget`: a visitor or a user erased for good."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click

from infra.commands.flags import SettingsCommand, refuse_unknown_site, with_json, with_settings
from infra.processes.control import Line
from infra.processes.session import Session, session
from infra.settings import Settings

_VISITOR = re.compile(r"[0-9a-f]{16}")


@click.command(cls=SettingsCommand)
@click.option("--site", required=True, metavar="DOMAIN", help="The site that the visitor was on.")
@click.option("--visitor", metavar="HEX", help="The visitor's id, as the tables have it: 16 hex digits.")
@click.option("--user", metavar="ID", help="A user's id, as the site sends it: all visitors with it are forgotten.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@with_json
@with_settings
def forget(
    settings: Settings, site: str, visitor: str | None, user: str | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Erase a visitor, or a user with all of his visitors, for good: nothing brings them back.

    They go from the warehouse, the archive, the checkpoint, the dead letters and the embedded log, and a tombstone
    keeps out what a broker, a copy of the archive or a log file still has of them. The receipt says what was removed,
    what remains until when, and the digests of the days concerned as they were and as they are.
    """
    if (visitor is None) == (user is None) or not (visitor or user):
        raise click.UsageError("say whom to forget: either --visitor or --user")
    visitor = (visitor or "").lower()
    if visitor and not _VISITOR.fullmatch(visitor):
        raise click.BadParameter(f"{visitor!r} is no visitor's id: it has 16 hex digits", param_hint="--visitor")
    person: Line = {"site": site, "visitor": visitor, "user": user or ""}
    with session(settings, "footfall forget") as work:
        refuse_unknown_site(work, site)
        if not dry_run and not yes and sys.stdin.isatty():
            _tell(_asked(work, person | {"dry_run": True}), as_json=False, err=True)
            click.confirm("Erase all this for good?", abort=True, err=True)
        _tell(_asked(work, person | {"dry_run": dry_run}), as_json)


def _asked(work: Session, arguments: Line) -> Line:
    receipt: Line = {}
    for line in work.call("forget", arguments):
        if "doing" in line:
            click.echo(f"erasing: {line['doing']}", err=True)
        else:
            receipt = line
    return receipt


def _tell(receipt: dict[str, Any], as_json: bool, err: bool = False) -> None:
    if as_json:
        click.echo(json.dumps(receipt))
        return
    dry = receipt.get("dry_run", False)
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in receipt["removed"].items())
    visitors = f"{len(receipt['visitors'])} visitors of {receipt['site']}"
    click.echo(f"{visitors} {'would be' if dry else 'are'} forgotten: {counts}", err=err)
    for visitor in receipt["visitors"]:
        click.echo(f"  visitor {visitor}", err=err)
    if dry:
        return
    click.echo(f"erasure {receipt['epoch']} covers what was received before {receipt['received_before']}")
    for day in receipt["days"]:
        click.echo(f"{day['day']} {receipt['site']}: sha256 {day['before']} is now {day['after']}, by {day['why']}")
    for left in receipt["remains"]:
        until = f" until {left['until']}" if "until" in left else ""
        click.echo(f"remains{until}: {left['where']} ({left['why']})")
