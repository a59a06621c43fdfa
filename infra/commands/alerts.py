"""`footfall alert`: what is watched and whom it is told to. A running server notices every change at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.commands.users import grants_of, note, opened
from infra.errors import Failed
from infra.settings import Settings

if TYPE_CHECKING:
    from stores.accounts.alerts import Alert

_SITE = ["visitors", "spike", "drop", "silence"]
_INSTALLATION = ["lag", "disk", "dead-letters"]


@click.group()
def alert() -> None:
    """Manage alerts of sites and of the installation, told by e-mail or webhook."""


@alert.command(cls=SettingsCommand)
@click.argument("kind", type=click.Choice([*_SITE, *_INSTALLATION]))
@click.argument("threshold", type=float)
@click.argument("target")
@click.option("--site", help="The site, for visitors, spike, drop and silence.")
@with_json
@with_settings
def add(settings: Settings, kind: str, threshold: float, target: str, site: str | None, as_json: bool) -> None:
    """Tell TARGET, an e-mail address or the URL of a webhook, when KIND reaches THRESHOLD.

    Of a site: visitors in the last hour; spike, so many times the usual; drop, at most this share (0 to 1) of the
    usual; silence, minutes without an event. Of the installation: lag in minutes; disk, at most this share (0 to 1) is
    free; dead-letters in the last hour.
    """
    from dashboards.alerts.judging import unfit
    from stores.accounts.roles import ALL

    if site is None and kind in _SITE:
        raise click.UsageError(f"{kind} is of a site: name it by --site")
    if wrong := unfit(kind, threshold, of_site=site is not None):
        raise Failed(wrong)
    with opened(settings) as accounts:
        grants_of(settings, "viewer", (site,) if site else ())  # only of sites that are counted
        added = accounts.alerts.add(site or ALL, kind, threshold, target)
        note(accounts, f"added an alert of {site or 'the installation'}: {kind} {threshold:g}", added.target)
    if as_json:
        click.echo(json.dumps(_described(added) | ({} if added.by_mail else {"secret": added.secret})))
        return
    click.echo(f"alert {added.id} tells {added.target}")
    if not added.by_mail:
        click.echo(f"The secret that signs it, shown only now: {added.secret}")


@alert.command("list", cls=SettingsCommand)
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the alerts: whether each fires, its last value, and why its last notice was not sent."""
    with opened(settings) as accounts:
        alerts = accounts.alerts.all()
    if not alerts and not as_json:
        click.echo("No alert yet: footfall alert add visitors 500 ann@example.com --site example.com", err=True)
    for each in alerts:
        told = _described(each)
        words = (f"{each.id}", told["site"] or "installation", f"{each.kind} {each.threshold:g}", each.target)
        more = ("fires" if each.firing else "", each.error)
        click.echo(json.dumps(told) if as_json else "\t".join(word for word in (*words, *more) if word))


@alert.command(cls=SettingsCommand)
@click.argument("number", type=int)
@with_json
@with_settings
def remove(settings: Settings, number: int, as_json: bool) -> None:
    """Remove the alert of this number."""
    with opened(settings) as accounts:
        found = accounts.alerts.get(number)
        accounts.alerts.remove(found)
        note(accounts, f"removed an alert: {found.kind} {found.threshold:g}", found.target)
    click.echo(json.dumps({"alert": number, "removed": True}) if as_json else f"alert {number} is removed")


@alert.command(cls=SettingsCommand)
@click.argument("number", type=int)
@with_json
@with_settings
def test(settings: Settings, number: int, as_json: bool) -> None:
    """Send a notice of the alert of this number now, to try its target."""
    from infra.processes.session import session

    with session(settings, "footfall alert test") as work:
        for line in work.call("alert-test", {"number": number}):
            click.echo(json.dumps(line) if as_json else f"a notice is sent to {line['target']}")


def _described(alert: Alert) -> dict[str, Any]:
    names = ("kind", "threshold", "target", "firing", "value", "error")
    site = None if alert.site == "*" else alert.site
    return {"alert": alert.id, "site": site} | {name: getattr(alert, name) for name in names}
