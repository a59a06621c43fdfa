"""The commands that work on stored data: `footfall replay`, `reconcile`, `sql`, `migrate` and `archive`.

Each of them runs in the process that owns the warehouse; see `infra.processes.session`.
"""

from __future__ import annotations

import base64
import json
import sys
from datetime import datetime
from typing import Any

import click

from infra.commands import rules
from infra.commands.flags import SettingsCommand, refuse_unknown_site, with_json, with_settings
from infra.settings import Settings

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command(cls=SettingsCommand, epilog=rules.EPILOG)
@click.option("--from", "first", type=_DAY, required=True, metavar="YYYY-MM-DD", help="First day (UTC).")
@click.option("--to", "last", type=_DAY, required=True, metavar="YYYY-MM-DD", help="Last day (UTC), inclusive.")
@click.option("--site", metavar="DOMAIN", help="Only this site; all sites by default.")
@click.option(
    "--source",
    type=click.Choice(["broker", "archive"]),
    default="broker",
    show_default=True,
    help="Where to read the raw events.",
)
@click.option("--dry-run", is_flag=True, help="Rebuild and compare, but change nothing.")
@rules.with_rules
@with_json
@with_settings
def replay(
    settings: Settings,
    first: datetime,
    last: datetime,
    site: str | None,
    source: str,
    dry_run: bool,
    definitions: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Rebuild the events, sessions and metrics of some days from the raw events, compare, and replace what differs.

    Prints a line per site and day with the digest of its sessions, and whether the stored events, sessions and rollups
    were equal; if sessions were not, how many are added, removed and changed, with an example of each. Exit status 1 if
    a day was not equal; it is now, unless --dry-run. The same command after a kill goes on behind the days that are
    done. With --rules, --gap, --midnight or --campaign it prints instead what the same events would be under other
    definitions of a visit.
    """
    from infra.commands.replay_lines import ReplayLines
    from infra.processes.session import session

    if last < first:
        raise click.UsageError("--to is before --from")
    arguments = {
        "first": first.date().isoformat(),
        "last": last.date().isoformat(),
        "site": site,
        "source": source,
        "dry_run": dry_run,
    }
    if definitions is not None:
        rules.compare(settings, definitions, arguments, as_json=as_json)
        return
    with session(settings, "footfall replay") as work, ReplayLines(as_json=as_json) as lines:
        if site is not None:
            refuse_unknown_site(work, site)
        for line in work.call("replay", arguments):
            lines.take(line)
    if not lines.days:
        click.echo("no events on these days", err=True)
    raise click.exceptions.Exit(1 if lines.unequal else 0)


@click.command(cls=SettingsCommand)
@with_json
@with_settings
def reconcile(settings: Settings, as_json: bool) -> None:
    """Rebuild the days with late events now. `up` does this every ten minutes by itself."""
    from infra.processes.session import session

    with session(settings, "footfall reconcile") as work:
        for line in work.call("reconcile", {}):
            told = f"{line['marks']} visitor-days were dirty, {line['changed']} session rows changed"
            click.echo(json.dumps(line) if as_json else told)


@click.command(cls=SettingsCommand)
@click.argument("statement", metavar="STATEMENT")
@click.option("--format", "fmt", default="PrettyCompact", show_default=True, help="Any of ClickHouse's formats.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format JSONEachRow.")
@click.option("--param", "given", multiple=True, metavar="NAME=VALUE", help="Value for {NAME:Type} in the statement.")
@with_settings
def sql(settings: Settings, statement: str, fmt: str, as_json: bool, given: tuple[str, ...]) -> None:
    """Query the warehouse: one read-only STATEMENT over events, sessions, rollup_1m, rollup_1h and dead_letters.

    `-` reads the statement from stdin.
    """
    from infra.errors import in_words
    from infra.processes.session import session
    from stores.read_only import inspection

    if statement == "-":
        statement = sys.stdin.read()
    fmt = "JSONEachRow" if as_json else fmt
    params = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, as in site=example.com", param_hint="--param")
        params[name] = value
    with in_words():
        inspection.refuse_oversized(statement, fmt, params)
    with session(settings, "footfall sql") as work:
        for line in work.call("sql", {"statement": statement, "fmt": fmt, "params": params}):
            sys.stdout.buffer.write(base64.b64decode(line["body"]))
    sys.stdout.buffer.flush()


@click.command(cls=SettingsCommand)
@with_json
@with_settings
def migrate(settings: Settings, as_json: bool) -> None:
    """Bring the warehouse's tables up to date. Every command that opens the warehouse does this by itself."""
    from infra.processes.session import session

    with session(settings, "footfall migrate") as work:
        applied = [line["applied"] for line in work.call("migrate", {})]
    if as_json:
        click.echo(json.dumps({"applied": applied}))
    else:
        click.echo("\n".join(applied) or "the tables are up to date")


@click.group()
def archive() -> None:
    """Manage the Parquet archive of raw events."""


@archive.command(cls=SettingsCommand)
@with_json
@with_settings
def flush(settings: Settings, as_json: bool) -> None:
    """Write to the archive what the numbers already include. `up` does this every minute by itself."""
    from infra.processes.session import session

    events = 0
    with session(settings, "footfall archive flush") as work:
        for _ in work.call("load", {}):
            pass
        for line in work.call("archive-flush", {}):
            events += line["events"]
    click.echo(json.dumps({"events": events}) if as_json else f"{events:,} events written to the archive")


@archive.command(cls=SettingsCommand)
@click.option("--mend", is_flag=True, help="Make again what is damaged, from the log and from what is whole.")
@with_json
@with_settings
def check(settings: Settings, mend: bool, as_json: bool) -> None:
    """Read every file of the archive and compare it with the manifest.

    Prints a line for each that is damaged. Exit status 1 if one is and was not mended.
    """
    from infra.processes.session import session

    found = left = 0
    with session(settings, "footfall archive check") as work:
        for line in work.call("archive-check", {"mend": mend}):
            found += 1
            left += not line["mended"]
            state = "mended" if line["mended"] else "DAMAGED"
            told = f"{state}: {line['file']}: {line['why']} ({line['events']:,} events, {line['hours']})"
            click.echo(json.dumps(line) if as_json else told + (f"; {line['note']}" if line["note"] else ""))
    click.echo(f"{found} damaged, {found - left} of them mended" if found else "nothing is damaged", err=True)
    raise click.exceptions.Exit(1 if left else 0)
