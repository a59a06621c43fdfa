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
@click.option("--param", "given", multiple=True, metavar="NAME=VALUE", help="Fills {NAME:Type} in the statement.")
@with_settings
def sql(settings: Settings, statement: str, fmt: str, as_json: bool, given: tuple[str, ...]) -> None:
    """Ask the warehouse: one read-only STATEMENT over events, sessions, rollup_1m, rollup_1h and dead_letters.

    `-` reads the statement from stdin.
    """
    from infra.failures import in_words
    from infra.session import session
    from stores import guard

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
        guard.refuse_oversized(statement, fmt, params)
    with session(settings, "footfall sql") as work:
        for line in work.call("sql", {"statement": statement, "fmt": fmt, "params": params}):
            sys.stdout.buffer.write(base64.b64decode(line["body"]))
    sys.stdout.buffer.flush()
