"""`footfall archive`."""

from __future__ import annotations

import json

import click

from infra.flags import SettingsCommand, with_json, with_settings
from infra.settings import Settings


@click.group()
def archive() -> None:
    """The Parquet archive of raw events."""


@archive.command(cls=SettingsCommand)
@with_json
@with_settings
def flush(settings: Settings, as_json: bool) -> None:
    """Bring the archive up to what is in the numbers now. `up` does so every minute by itself."""
    from infra.session import session

    events = 0
    with session(settings, "footfall archive flush") as work:
        for _ in work.call("load", {}):
            pass
        for line in work.call("archive-flush", {}):
            events += line["events"]
    click.echo(json.dumps({"events": events}) if as_json else f"{events:,} events went to the archive")
