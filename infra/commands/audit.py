"""`footfall audit`: where every accepted event went, hour by hour."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.processes.auditing import named
from infra.settings import Settings

_DAY = click.DateTime(["%Y-%m-%d"])
_HOUR = timedelta(hours=1)
_WAYS = ("stored", "duplicate", "dead_lettered", "erased", "expired", "in_flight")


@click.command(cls=SettingsCommand)
@click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="First day (UTC).")
@click.option("--to", "last", type=_DAY, metavar="YYYY-MM-DD", help="Last day (UTC), inclusive; today by default.")
@click.option("--hour", metavar="HOUR", help="Only this hour (UTC): YYYY-MM-DDTHH, also with an offset, or 0 to 23.")
@with_json
@with_settings
def audit(
    settings: Settings, first: datetime | None, last: datetime | None, hour: str | None, as_json: bool
) -> None:
    """Account for every event, by the hour in which it was received: by default those of the last 24 hours.

    What was received was accepted, refused or a duplicate at the door. What was accepted, a record in the broker's log,
    is stored, a duplicate, a dead letter, erased, expired or in flight. Log, archive and warehouse are counted apart
    from each other; what one of them lacks is named, with its topic, partition and range of positions, or its file.
    Exit status 1 if an hour does not sum.
    """
    from infra.processes.session import session

    start, end = _span(first, last, hour)
    arguments = {"start": int(start.timestamp() * 1000), "end": int(end.timestamp() * 1000)}
    begun, hours, wrong = time.monotonic(), 0, 0
    with session(settings, "footfall audit") as work:
        for line in work.call("audit", arguments):
            hours += 1
            wrong += not line["balanced"]
            click.echo(json.dumps(line) if as_json else _told(line))
    seconds = time.monotonic() - begun
    what = f"{hours} hour{'' if hours == 1 else 's'}" if hours else "nothing was received in these hours"
    click.echo(f"{what}, {wrong} of them not balanced, {seconds:.1f} s" if hours else what, err=True)
    raise click.exceptions.Exit(1 if wrong else 0)


def _span(first: datetime | None, last: datetime | None, hour: str | None) -> tuple[datetime, datetime]:
    """The first hour and the one behind the last. Raises `click.UsageError`."""
    now = datetime.now(UTC)
    if hour is not None:
        if first is not None or last is not None:
            raise click.UsageError("give --hour or days, not both")
        start = _hour(hour, now)
        return start, start + _HOUR
    if first is None and last is None:
        this = now.replace(minute=0, second=0, microsecond=0)
        return this - 23 * _HOUR, this + _HOUR
    begin = (first or last or now).replace(tzinfo=UTC)
    finish = (last or now).replace(tzinfo=UTC, hour=0, minute=0, second=0, microsecond=0)
    if finish < begin:
        raise click.UsageError("--to is before --from" if last else "--from is after today (UTC)")
    return begin, finish + 24 * _HOUR


def _hour(text: str, now: datetime) -> datetime:
    if text.isdecimal() and int(text) < 24:
        return now.replace(hour=int(text), minute=0, second=0, microsecond=0)
    try:
        given = datetime.fromisoformat(text)
        start = given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        start = None
    if start is None or start != start.replace(minute=0, second=0, microsecond=0) or len(text) <= len("2026-11-28"):
        raise click.BadParameter(f"{text!r} is no hour of UTC, such as 2026-11-28T13 or 13", param_hint="--hour")
    return start


def _told(line: dict[str, Any]) -> str:
    why = ", ".join(f"{reason} {events:,}" for reason, events in sorted(line["refused_by"].items()))
    came = f"received {line['received']:,} = {line['accepted']:,} accepted + {line['refused']:,} refused"
    came += f" ({why})" if why else ""
    came += f" + {line['duplicate_at_door']:,} duplicates at the door"
    went = " + ".join(f"{line[way]:,} {way.replace('_', ' ')}" for way in _WAYS if line[way] or way == "stored")
    kept = f" ({line['beyond_log']:,} of them are in the log no more)" if line["beyond_log"] else ""
    ends = "balanced" if line["balanced"] else "NOT BALANCED"
    lines = [f"{line['hour']}  {came}; {line['accepted']:,} accepted = {went}{kept}: {ends}"]
    if line["unaccounted"]:
        lines.append(f"  {line['unaccounted']:,} events are unaccounted for")
    lines += [f"  {named(mismatch)}" for mismatch in line.get("mismatches", [])]
    return "\n".join(lines)
