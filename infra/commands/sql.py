"""`footfall sql`."""

from __future__ import annotations

import base64
import sys

import click

from infra.flags import SettingsCommand, with_settings
from infra.settings import Settings


@click.command(cls=SettingsCommand)
@click.argument("statement", metavar="STATEMENT")
@click.option("--format", "fmt", default="PrettyCompact", show_default=True, help="Any of ClickHouse's formats.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format JSONEachRow.")
@with_settings
def sql(settings: Settings, statement: str, fmt: str, as_json: bool) -> None:
    """Ask the warehouse: one read-only STATEMENT over events, sessions, rollup_1m, rollup_1h and dead_letters.

    `-` reads the statement from stdin.
    """
    from infra.session import session

    if statement == "-":
        statement = sys.stdin.read()
    with session(settings, "footfall sql") as work:
        for line in work.call("sql", {"statement": statement, "fmt": "JSONEachRow" if as_json else fmt}):
            sys.stdout.buffer.write(base64.b64decode(line["body"]))
    sys.stdout.buffer.flush()
