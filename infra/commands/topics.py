"""`footfall topics`."""

from __future__ import annotations

import json

import click

from infra.failures import Failed
from infra.flags import SettingsCommand, with_json, with_settings
from infra.settings import Settings

_DAY_MS = 86_400_000


@click.group()
def topics() -> None:
    """The topics that events lie in."""


@topics.command("list", cls=SettingsCommand)
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List our topics with partitions, retention and records. Exit status 1 when one is missing."""
    from activity.event import ALL_TOPICS
    from infra.wiring import Parts

    with Parts(settings) as parts:
        there = parts.broker.topics()
        missing = [name for name in ALL_TOPICS if name not in there]
        for name in ALL_TOPICS:
            info = there.get(name)
            if info is None:
                line: dict[str, object] = {"topic": name, "missing": True}
                told = f"{name}\tmissing: footfall topics apply"
            else:
                line = {"topic": name, "partitions": info.partitions, "retention_ms": info.retention_ms}
                kept = "for ever" if info.retention_ms < 0 else f"{info.retention_ms / _DAY_MS:g} days"
                told = f"{name}\t{info.partitions} partitions\tkept {kept}"
            click.echo(json.dumps(line) if as_json else told)
    raise click.exceptions.Exit(1 if missing else 0)


@topics.command(cls=SettingsCommand)
@click.option("--partitions", type=click.IntRange(1, 4096), default=4, show_default=True, help="Never changed later.")
@click.option("--retention-days", type=click.IntRange(1), help="How long raw events are kept; for ever if left out.")
@click.option("--replication", type=click.IntRange(1, 9), default=1, show_default=True, help="Copies in the cluster.")
@with_json
@with_settings
def apply(
    settings: Settings, partitions: int, retention_days: int | None, replication: int, as_json: bool
) -> None:
    """Make the topics that are missing, all with the same partition count."""
    from activity.event import ALL_TOPICS
    from infra.wiring import Parts

    retention = -1 if retention_days is None else retention_days * _DAY_MS
    with Parts(settings) as parts:
        before = parts.broker.topics()
        for name in ALL_TOPICS:
            try:
                parts.broker.create_topic(name, partitions, retention, replication)
            except ValueError as error:
                raise Failed(str(error)) from error
    made = [name for name in ALL_TOPICS if name not in before]
    if as_json:
        click.echo(json.dumps({"made": made}))
    else:
        click.echo("\n".join(f"{name} made" for name in made) or "all topics are there")
