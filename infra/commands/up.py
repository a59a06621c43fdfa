"""`footfall up`."""

from __future__ import annotations

import json
import sys

import click

from infra.failures import Failed
from infra.flags import SettingsCommand, with_json, with_settings
from infra.settings import Settings
from infra.wiring import check_broker


@click.command(cls=SettingsCommand)
@click.option("--site", "domains", multiple=True, metavar="DOMAIN", help="Count this site too; repeatable.")
@click.option("--demo", is_flag=True, help="Also send believable synthetic traffic, to the first --site or localhost.")
@with_json
@with_settings
def up(settings: Settings, domains: tuple[str, ...], demo: bool, as_json: bool) -> None:
    """Run everything on this machine: tracking on one port, dashboards on another, both on loopback.

    Dashboards beyond loopback (--host, --dashboards-host) need FOOTFALL_DASHBOARDS_TOKEN or --dashboards-password-file.

    Ctrl-C drains and stops; nothing that was accepted is lost, by kill -9 neither.
    """
    from infra import access, local, snippets

    local.refuse_unfit(settings)
    access.refuse_unguarded(settings)
    check_broker(settings)

    def say(text: str) -> None:
        if as_json:
            click.echo(json.dumps({"event": "message", "text": text}))
        else:
            click.echo(f"footfall: {text}", err=True)

    supervisor = local.Supervisor(settings, demo=(domains or ("localhost",))[0] if demo else None, say=say)
    shown = _add_sites(settings, domains or (("localhost",) if demo else ()))
    for line in access.remarks(settings):
        say(line)
    say(f"starting on {settings.data}")

    def ready(served: Settings) -> None:
        collect, dashboards = snippets.collect_url(served), snippets.dashboards_url(served)
        snippet = snippets.script(shown, collect)
        if as_json:
            addresses = {"tracking": collect, "dashboards": dashboards}
            click.echo(json.dumps({"event": "ready", **addresses, "site": shown, "snippet": snippet}))
            return
        click.echo(
            f"""
  Dashboards  {dashboards}/{shown}
  Tracking    {collect}

  Paste this into every page of {shown}, before </head>:

    {snippet}

  Events are kept in {served.data}. Another site: footfall site add example.com
  Ctrl-C stops; nothing accepted is lost.
"""
        )
        if demo:
            say(f"pretend visitors come to {shown}; leave --demo out to stop them")

    sys.exit(supervisor.run(ready))


def _add_sites(settings: Settings, domains: tuple[str, ...]) -> str:
    """Add what is not there yet; the site whose snippet is shown."""
    from infra.core import add_site
    from ingest.sites import Sites, SitesError

    try:
        known = Sites(settings.sites).all()
        for domain in domains or (() if known else ("localhost",)):
            add_site(settings, domain)
    except SitesError as error:
        raise Failed(str(error)) from error
    if domains:
        return domains[0].strip().lower()
    return known[0].domain if known else "localhost"
