"""The command `footfall units`: how many loaders share the partitions, and where each of them is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from infra.backup import places
from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings, spell
from infra.wiring import Parts

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command(cls=SettingsCommand)
@click.argument("number", type=click.IntRange(1, 1000), required=False, metavar="[N]")
@with_json
@with_settings
def units(settings: Settings, number: int | None, as_json: bool) -> None:
    """Show the units that loaders share the partitions out among, or share them out among N, beside running loaders.

    A loader of a former unit ends by itself then, and says what to start instead: `footfall load --unit K/N`, one for
    each unit. Nothing is lost or counted twice meanwhile; events wait in the topics. A change that was broken off goes
    on when it is asked for again.
    """
    from pipeline.rebuild import Busy
    from pipeline.resize import resize
    from pipeline.unit import layout

    if settings.embedded and number not in (None, 1):
        raise Failed(
            f"an embedded warehouse belongs to one process, so there can be one unit only; name a ClickHouse server by"
            f" {spell('warehouse')}"
        )
    if settings.embedded:
        places.require(settings)
    with Parts(settings) as parts:
        if number is not None and not settings.embedded:
            parts.create_topics()
            try:
                before = resize(parts.loader, number)
            except Busy as error:
                raise Failed(str(error)) from error
            told = f"{number} now, {before} before" if before != number else f"{number} already"
            click.echo(f"units: {told}", err=True)
        of = layout(parts.checkpoint)
        if of.to:
            click.echo(f"a change to {of.to} was broken off: `footfall units {of.to}` goes on with it", err=True)
        for line in _lines(parts, of.of):
            click.echo(json.dumps(line) if as_json else _told(line))


def _lines(parts: Parts, of: int) -> Iterator[dict[str, Any]]:
    from pipeline.checkpoint import CheckpointRepository
    from pipeline.lease import HeldLease
    from pipeline.unit import all_of

    for unit in all_of(of):
        checkpoint = CheckpointRepository(parts.checkpoint, unit.name).load()
        partitions = unit.partitions(checkpoint.partitions) if checkpoint else range(0)
        moment = datetime.fromtimestamp(checkpoint.watermark / 1000, UTC) if checkpoint else None
        yield {
            "unit": str(unit),
            "partitions": list(partitions),
            "loader": HeldLease(parts.checkpoint, unit.name).holder(),
            "watermark": moment.isoformat(timespec="seconds") if moment else None,
        }


def _told(line: dict[str, Any]) -> str:
    partitions = ", ".join(map(str, line["partitions"])) or "none yet"
    return (
        f"unit {line['unit']}: partitions {partitions}; loader {line['loader'] or 'none'};"
        f" watermark {line['watermark'] or 'none yet'}"
    )
