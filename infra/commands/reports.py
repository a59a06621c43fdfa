"""`footfall report`: who gets a report of a site by e-mail. A running server notices every change at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.commands.users import grants_of, note, opened
from infra.settings import Settings

if TYPE_CHECKING:
    from stores.accounts.reports import Report

_every = click.option(
    "--every", type=click.Choice(["week", "month"]), default="week", show_default=True, help="How often it comes."
)


@click.group()
def report() -> None:
    """Manage reports of sites by e-mail, which `up` sends after each week or month."""


@report.command(cls=SettingsCommand)
@click.argument("site")
@click.argument("address")
@_every
@with_json
@with_settings
def add(settings: Settings, site: str, address: str, every: str, as_json: bool) -> None:
    """Send reports of SITE to ADDRESS from now on; the first one comes after the period that runs now."""
    with opened(settings) as accounts:
        grants_of(settings, "viewer", (site,))  # only of sites that are counted
        added = accounts.reports.add(site, address, every)
        note(accounts, f"added a report of {site} every {every}", added.address)
    click.echo(json.dumps(_described(added)) if as_json else f"{added.address} gets a report of {site} every {every}")
    if not settings.smtp:
        click.echo("Nothing is sent until up runs with --smtp and --mail-from", err=True)


@report.command("list", cls=SettingsCommand)
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the reports: when the last one was sent, and why not if it failed."""
    with opened(settings) as accounts:
        reports = accounts.reports.all()
    if not reports and not as_json:
        click.echo("No report yet: footfall report add SITE ADDRESS", err=True)
    for each in reports:
        told = _described(each)
        words = (each.site, each.address, f"every {each.every}", f"sent {told['sent'] or 'never'}", each.error)
        click.echo(json.dumps(told) if as_json else "\t".join(word for word in words if word))


@report.command(cls=SettingsCommand)
@click.argument("site")
@click.argument("address")
@_every
@with_json
@with_settings
def remove(settings: Settings, site: str, address: str, every: str, as_json: bool) -> None:
    """Send no more reports of SITE to ADDRESS."""
    with opened(settings) as accounts:
        accounts.reports.remove(accounts.reports.get(site, address, every))
        note(accounts, f"removed a report of {site} every {every}", address)
    told = {"site": site, "address": address, "every": every, "removed": True}
    click.echo(json.dumps(told) if as_json else f"{address} gets no more reports of {site} every {every}")


@report.command(cls=SettingsCommand)
@click.argument("site")
@click.argument("address")
@_every
@with_json
@with_settings
def send(settings: Settings, site: str, address: str, every: str, as_json: bool) -> None:
    """Send the report of the last whole week or month now, to try it; it still comes when it is due."""
    from infra.processes.session import session

    with session(settings, "footfall report send") as work:
        for line in work.call("report-send", {"site": site, "address": address, "every": every}):
            told = f"the report of {line['first']} to {line['last']} is sent to {address}"
            click.echo(json.dumps(line) if as_json else told)


def _described(report: Report) -> dict[str, Any]:
    sent = None if report.sent is None else datetime.fromtimestamp(report.sent / 1000, UTC).isoformat("T", "seconds")
    about = {"site": report.site, "address": report.address, "every": report.every}
    return about | {"sent": sent, "error": report.error}
