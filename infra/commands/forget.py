"""`footfall forget`: a visitor or a user erased for good, or what sites do not keep any longer."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click

from activity.incoming import LONGEST_USER
from infra.commands.flags import SettingsCommand, refuse_unknown_site, with_json, with_settings
from infra.processes.control import Line
from infra.processes.session import Session, session
from infra.settings import Settings

_VISITOR = re.compile(r"[0-9a-f]{16}")


@click.command(cls=SettingsCommand)
@click.option("--site", metavar="DOMAIN", help="The site that the visitor was on; with --expired, only this one.")
@click.option("--visitor", metavar="HEX", help="The visitor's id, as the tables have it: 16 hex digits.")
@click.option("--user", metavar="ID", help="A user's id, as the site sends it: all visitors with it are forgotten.")
@click.option("--expired", is_flag=True, help="What sites do not keep any longer, by their retention_days.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@with_json
@with_settings
def forget(
    settings: Settings,
    site: str | None,
    visitor: str | None,
    user: str | None,
    expired: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase a visitor, or a user with all of his visitors, for good: nothing brings them back.

    They go from the warehouse, the archive, the checkpoint, the dead letters and the embedded log, and a tombstone
    keeps out what a broker, a copy of the archive or a log file still has of them. The receipt says what was removed,
    what remains until when, and the digests of the days concerned as they were and as they are.

    With --expired the days go that a site does not keep any longer, by its `retention_days` in the sites file; `up`
    does so once a day by itself.
    """
    if expired:
        if visitor is not None or user is not None:
            raise click.UsageError("--expired is about whole days: leave out --visitor and --user")
        if site is not None and not site.strip():
            raise click.UsageError("--site is empty; leave it out for all sites")
        _expire(settings, _spelt(site or ""), dry_run, yes, as_json)
        return
    if not site:
        raise click.UsageError("say on which site the visitor was, by --site")
    if (visitor is None) == (user is None) or not (visitor or user):
        raise click.UsageError("say whom to forget: either --visitor or --user")
    visitor = (visitor or "").strip().lower()
    if visitor and not _VISITOR.fullmatch(visitor):
        raise click.BadParameter(f"{visitor!r} is no visitor's id: it has 16 hex digits", param_hint="--visitor")
    if user and not user.isascii() and any("\ud800" <= char <= "\udfff" for char in user):
        raise click.BadParameter("it is no UTF-8", param_hint="--user")
    site = _spelt(site)
    # Of a longer id this much is stored.
    person: Line = {"site": site, "visitor": visitor, "user": (user or "")[:LONGEST_USER]}
    with session(settings, "footfall forget") as work:
        refuse_unknown_site(work, site)
        if not dry_run and not yes and sys.stdin.isatty():
            _tell(_asked(work, person | {"dry_run": True}), as_json=False, err=True)
            click.confirm("Erase all this for good?", abort=True, err=True)
        _tell(_asked(work, person | {"dry_run": dry_run}), as_json)


def _spelt(site: str) -> str:
    """The site as the sites file has it."""
    return site.strip().lower().rstrip(".")


def _expire(settings: Settings, site: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    with session(settings, "footfall forget") as work:
        if not dry_run and not yes and sys.stdin.isatty():
            for line in work.call("expire", {"site": site, "dry_run": True}):
                _tell_expired(line, err=True)
            click.confirm("Erase all this for good?", abort=True, err=True)
        for line in work.call("expire", {"site": site, "dry_run": dry_run}):
            if "doing" in line:
                click.echo(f"erasing: {line['doing']}", err=True)
            elif as_json:
                click.echo(json.dumps(line))
            else:
                _tell_expired(line)


def _tell_expired(receipt: Line, err: bool = False) -> None:
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in receipt["removed"].items())
    verb = "would go" if receipt.get("dry_run") else "are gone"
    click.echo(f"{receipt['site']} keeps what happened since {receipt['kept_since']}: {counts} {verb}", err=err)
    if not receipt.get("dry_run"):
        _tell_days(receipt)


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
    _tell_days(receipt)


def _tell_days(receipt: Line) -> None:
    for day in receipt["days"]:
        click.echo(f"{day['day']} {receipt['site']}: sha256 {day['before']} is now {day['after']}, by {day['why']}")
    for left in receipt["remains"]:
        until = f" until {left['until']}" if "until" in left else ""
        click.echo(f"remains{until}: {left['where']} ({left['why']})")
