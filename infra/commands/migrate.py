"""`footfall migrate`."""

from __future__ import annotations

import json

import click

from infra.flags import SettingsCommand, with_json, with_settings
from infra.settings import Settings


@click.command(cls=SettingsCommand)
@with_json
@with_settings
def migrate(settings: Settings, as_json: bool) -> None:
    """Bring the warehouse's tables up to date. Every command that opens the warehouse does so by itself."""
    from infra.session import session

    with session(settings, "footfall migrate") as work:
        applied = [line["applied"] for line in work.call("migrate", {})]
    if as_json:
        click.echo(json.dumps({"applied": applied}))
    else:
        click.echo("\n".join(applied) or "the tables are up to date")
