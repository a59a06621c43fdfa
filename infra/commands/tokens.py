"""`footfall token`: tokens for programs that ask the dashboards; `footfall audit-log`: who did what there."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.commands.users import grants_of, note, opened
from infra.settings import Settings


@click.group()
def token() -> None:
    """Manage tokens of programs that ask the dashboards: the stats API, SQL, /metrics."""


@token.command(cls=SettingsCommand)
@click.argument("name")
@click.option(
    "--scope", "scopes", type=click.Choice(["read", "sql", "write"]), multiple=True, required=True,
    help="read: pages, stats API, /metrics; sql: POST /sql; write: changes. Repeatable.",
)  # fmt: skip
@click.option("--site", help="Only for this site; else for all sites.")
@click.option("--days", type=click.IntRange(1, 36_500), help="How long it holds; else until it is removed.")
@with_json
@with_settings
def add(
    settings: Settings, name: str, scopes: tuple[str, ...], site: str | None, days: int | None, as_json: bool
) -> None:
    """Make a token for the program NAME and print it once. It is sent as `Authorization: Bearer TOKEN`."""
    with opened(settings) as accounts:
        for place in grants_of(settings, "viewer", (site,) if site else ()):
            secret = accounts.tokens.add(name, scopes, place, days)
            note(accounts, f"made a token: {' '.join(sorted(scopes))}, {_of(place)}", name)
    if as_json:
        click.echo(json.dumps({"token": name, "secret": secret}))
    else:
        click.echo(f"The token of {name}, shown only now: {secret}")


@token.command("list", cls=SettingsCommand)
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the tokens: scopes, site, when they were used last and when they run out."""
    with opened(settings) as accounts:
        tokens = accounts.tokens.all()
    if not tokens and not as_json:
        click.echo("No token yet: footfall token add NAME --scope read", err=True)
    for each in tokens:
        scopes, used, expires = sorted(each.scopes), _time(each.used), _time(each.expires)
        if as_json:
            told = {"token": each.name, "scopes": scopes, "site": each.site, "used": used, "expires": expires}
            click.echo(json.dumps(told))
        else:
            ends = f"until {expires}" if expires else "until it is removed"
            click.echo(f"{each.name}\t{' '.join(scopes)}\t{_of(each.site)}\tused {used or 'never'}\t{ends}")


@token.command(cls=SettingsCommand)
@click.argument("name")
@with_json
@with_settings
def remove(settings: Settings, name: str, as_json: bool) -> None:
    """Remove the token of the program NAME; it opens nothing from now on."""
    with opened(settings) as accounts:
        accounts.tokens.remove(name)
        note(accounts, "removed a token", name)
    click.echo(json.dumps({"token": name, "removed": True}) if as_json else f"the token of {name} is removed")


@click.command("audit-log", cls=SettingsCommand)
@click.option("--last", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many entries.")
@with_json
@with_settings
def audit_log(settings: Settings, last: int, as_json: bool) -> None:
    """Print who signed in and who changed what at the dashboards, the latest last."""
    with opened(settings) as accounts:
        entries = accounts.audit.latest(last)
    for each in reversed(entries):
        told = {"at": _time(each.at), "who": each.who, "address": each.address, "deed": each.deed, "on": each.target}
        click.echo(json.dumps(told) if as_json else "\t".join(str(value or "-") for value in told.values()))


def _of(site: str) -> str:
    return "all sites" if site == "*" else site


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
