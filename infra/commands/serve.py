"""The commands that serve: `footfall up`, and its work as separate services, `ingest`, `load` and `dashboards`.

The three services meet on a broker, a warehouse server and a shared live store, so each may run on a machine of its
own, and `ingest` on several.
"""

from __future__ import annotations

import json
import signal
import sys
import threading

import click

from infra import addresses
from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings, spell
from infra.wiring import check_broker, check_sites


@click.command(cls=SettingsCommand)
@click.option("--site", "domains", multiple=True, metavar="DOMAIN", help="Count this site too; repeatable.")
@click.option("--demo", is_flag=True, help="Also send a made-up shop's visitors to the first --site or localhost.")
@with_json
@with_settings
def up(settings: Settings, domains: tuple[str, ...], demo: bool, as_json: bool) -> None:
    """Run everything on this machine: tracking on one port, dashboards on another, both on loopback.

    Dashboards beyond loopback (--host, --dashboards-host) need an account (footfall user add NAME --role owner),
    FOOTFALL_DASHBOARDS_TOKEN or --dashboards-password-file.

    Ctrl-C drains and stops. Nothing that was accepted is lost, not even by kill -9.
    """
    from infra import access, addresses
    from infra.processes.supervisor import Supervisor, refuse_unfit

    refuse_unfit(settings)
    access.refuse_unguarded(settings)
    check_broker(settings)

    def say(text: str) -> None:
        if as_json:
            click.echo(json.dumps({"event": "message", "text": text}))
        else:
            click.echo(f"footfall: {text}", err=True)

    supervisor = Supervisor(settings, demo=(domains or ("localhost",))[0] if demo else None, say=say)
    shown = _add_sites(settings, domains or (("localhost",) if demo else ()))
    for line in access.remarks(settings):
        say(line)
    say(f"starting on {settings.data}")

    def ready(served: Settings) -> None:
        collect, dashboards = addresses.collect_url(served), addresses.dashboards_url(served)
        snippet = addresses.script(shown, collect)
        if as_json:
            known = {"tracking": collect, "dashboards": dashboards, "site": shown, "snippet": snippet}
            click.echo(json.dumps({"event": "ready", **known}))
            return
        click.echo(
            f"""
  Dashboards  {dashboards}/{shown}
  Tracking    {collect}

  Paste this into every page of {shown}, before </head>:

    {snippet}

  Events are kept in {served.data}. To add a site: footfall site add example.com
  Ctrl-C stops; nothing accepted is lost.
"""
        )
        if demo:
            say(f"visitors of a made-up shop come to {shown}: two months at once, then as time goes by")
            say("start without --demo to stop them")

    sys.exit(supervisor.run(ready))


def _add_sites(settings: Settings, domains: tuple[str, ...]) -> str:
    """Adds the sites that are missing, and returns the site whose snippet is shown."""
    from infra.processes.core import add_site
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


@click.command(cls=SettingsCommand)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that take events.")
@with_settings
def ingest(settings: Settings, workers: int) -> None:
    """Take events on the tracking port, and nothing else."""
    from infra import private
    from infra.processes import tracking

    if settings.broker.startswith("memory:"):
        raise Failed(f"{spell('broker')} memory:// ends with the process; name one that others can read")
    check_broker(settings)
    private.make(settings.data)
    check_sites(settings)
    click.echo(f"taking events on {addresses.address(settings.host, settings.port)}", err=True)
    tracking.serve(settings, addresses.bind(settings.host, settings.port), workers=workers)


@click.command(cls=SettingsCommand)
@click.option("--unit", "words", metavar="K/N", help="Take the partitions of unit K of N, as `footfall units N` made.")
@with_settings
def load(settings: Settings, words: str | None) -> None:
    """Run the live pipeline, from the topics into the warehouse and the archive, until a signal.

    A second loader of the same partitions stands by, and takes over when the first has not been heard of for a while.
    """
    from infra.processes.session import owned
    from pipeline.unit import Unit

    try:
        unit = Unit.parse(words or "1/1")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--unit") from error
    if settings.embedded and unit.of > 1:
        raise Failed(f"an embedded warehouse belongs to one process; name a ClickHouse server by {spell('warehouse')}")
    check_broker(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with owned(settings, "footfall load", unit=unit) as core:
        _ = core.parts.runner  # a URL that names no runner ends the command, and is not tried again and again
        core.start(on_end=stop.set)
        click.echo("loading", err=True)
        stop.wait()
        core.stop()
        if core.ended is not None:
            raise Failed(str(core.ended))


@click.command(cls=SettingsCommand)
@click.option("--listen", type=click.IntRange(0, 65535), default=50000, show_default=True, help="Port on 127.0.0.1.")
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, help="Workers started at once.")
@with_settings
def workers(settings: Settings, listen: int, processes: int) -> None:
    """Serve workers for `load --runner flink://`: one such pool beside each TaskManager, until a signal.

    Its workers open the broker and the stores with this command's settings, secrets included. Whoever reaches the port
    can have any code run, so it is on loopback only.
    """
    from infra import worker
    from pipeline.workers import serve

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with serve(worker.command(settings), processes, listen) as address:
            click.echo(f"workers at {address}", err=True)
            stop.wait()
    except OSError as error:
        raise Failed(str(error)) from error


@click.command(cls=SettingsCommand)
@with_settings
def dashboards(settings: Settings) -> None:
    """Serve pages, API and SQL on the dashboards port, from a warehouse that `load` fills.

    Beyond loopback this needs an account (footfall user add NAME --role owner), FOOTFALL_DASHBOARDS_TOKEN or
    --dashboards-password-file.
    """
    from infra import access
    from infra.processes import core

    if settings.embedded:
        raise Failed(f"`footfall up` serves an embedded warehouse; run it, or name a server by {spell('warehouse')}")
    check_sites(settings)
    access.refuse_unguarded(settings)
    for line in access.remarks(settings):
        click.echo(f"footfall: {line}", err=True)
    click.echo(f"dashboards on {addresses.dashboards_url(settings)}", err=True)
    core.serve(settings, addresses.bind(settings.dashboards_host, settings.dashboards_port), pipeline=False)
