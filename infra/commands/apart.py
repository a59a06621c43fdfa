"""`footfall ingest`, `load` and `dashboards`: what `up` does, in three processes of their own.

They meet on a broker, a warehouse server and a shared live store, so each may run on another machine and
`ingest` several times.
"""

from __future__ import annotations

import signal
import threading

import click

from infra import snippets
from infra.failures import Failed
from infra.flags import SettingsCommand, with_settings
from infra.settings import Settings, spell
from infra.wiring import check_broker, check_sites


@click.command(cls=SettingsCommand)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that take events.")
@with_settings
def ingest(settings: Settings, workers: int) -> None:
    """Take events on the tracking port, and nothing else."""
    from infra import private, tracking

    if settings.broker.startswith("memory:"):
        raise Failed(f"{spell('broker')} memory:// ends with the process; give one that others can read")
    check_broker(settings)
    private.make(settings.data)
    check_sites(settings)
    click.echo(f"taking events on {snippets.address(settings.host, settings.port)}", err=True)
    tracking.serve(settings, snippets.bind(settings.host, settings.port), workers=workers)


@click.command(cls=SettingsCommand)
@with_settings
def load(settings: Settings) -> None:
    """Run the live pipeline: what lies in the topics goes into the warehouse and the archive, until a signal."""
    from infra.session import owned

    check_broker(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with owned(settings, "footfall load") as core:
        core.start()
        click.echo("loading", err=True)
        stop.wait()
        core.stop()


@click.command(cls=SettingsCommand)
@with_settings
def dashboards(settings: Settings) -> None:
    """Serve pages, API and SQL on the dashboards port, over a warehouse that `load` fills.

    Beyond loopback they need FOOTFALL_DASHBOARDS_TOKEN or --dashboards-password-file.
    """
    from infra import access, core

    if settings.embedded:
        raise Failed(f"an embedded warehouse is served by `footfall up`; or name a server by {spell('warehouse')}")
    check_sites(settings)
    access.refuse_unguarded(settings)
    for line in access.remarks(settings):
        click.echo(f"footfall: {line}", err=True)
    click.echo(f"dashboards on {snippets.dashboards_url(settings)}", err=True)
    core.serve(settings, snippets.bind(settings.dashboards_host, settings.dashboards_port), pipeline=False)
