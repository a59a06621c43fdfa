"""The schema, as numbered files of plain SQL that are applied once each and in order.

Statements are written so that running one twice does no harm (`IF NOT EXISTS`, `OR REPLACE`): a migration that
was interrupted is run again from its start, and two processes that migrate at once end with the same schema.
A file is never edited after a release; one whose number is applied under another name is an error.

For a cluster the statements are composed anew from the parts of the same files: each table becomes a replicated table
on every shard with a Distributed table of the plain name in front, so that inserts, questions and views read the same
on both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import polars as pl

from stores.base import BrokenRows, Unusable

log = logging.getLogger("footfall.stores")

APPLIED = "schema_migrations"  # the table of applied migrations

_APPLIED = f"SELECT number, any(name) AS name FROM {APPLIED} GROUP BY number"

_TABLE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<name>\w+)\n(?P<columns>.*?)\n"
    r"ENGINE = (?P<engine>\w*MergeTree)\b(?P<keys>.*?)\nSETTINGS (?P<settings>.+)",
    re.DOTALL,
)
_VIEW = re.compile(r"CREATE OR REPLACE VIEW (?P<name>\w+) AS\n(?P<query>.+)", re.DOTALL)
_ALTERED = re.compile(r"ALTER TABLE (?P<name>\w+) (?P<change>(?:ADD|MATERIALIZE) INDEX .+|ADD COLUMN .+)", re.DOTALL)
_CREATED = re.compile(r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", re.MULTILINE)
_SHARD = re.compile(r"^-- shard by: (.+)$", re.MULTILINE)
# The settings that have another name for a replicated table.
_OF_REPLICATED = {"non_replicated_deduplication_window": "replicated_deduplication_window"}

Query = Callable[[str], pl.DataFrame]
Command = Callable[[str, Mapping[str, Any] | None], object]

_CREATE_APPLIED = f"""\
-- shard by: rand()
CREATE TABLE IF NOT EXISTS {APPLIED}
(
    number UInt32,
    name String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"""


def available() -> list[tuple[int, str, str]]:
    """Number, name and text of every migration, in order."""
    found = []
    for entry in files("stores").joinpath("sql/schema").iterdir():
        number, _, name = entry.name.removesuffix(".sql").partition("-")
        if entry.name.endswith(".sql"):
            found.append((int(number), name, entry.read_text("utf-8")))
    return sorted(found)


def apply(query: Query, command: Command, cluster: str | None = None) -> list[str]:
    """Run the migrations that were not applied; returns their names.

    When a table or view of a migration is gone, that migration and those after it are run again. Raises `Unusable`
    when the database belongs to another version of Footfall."""
    for statement in statements(_CREATE_APPLIED, cluster):
        command(statement, None)
    try:
        applied = dict(query(_APPLIED).iter_rows())
    except BrokenRows as broken:
        if cluster:  # another replica has them
            raise
        log.warning("Which migrations were applied cannot be read, so all are run again: %s", broken)
        command(f"TRUNCATE TABLE {APPLIED}", None)
        applied = {}
    there = set(query("SELECT name FROM system.tables WHERE database = currentDatabase()").to_series())
    done, gone = [], False
    for number, name, text in available():
        if number in applied:
            if applied[number] != name:
                raise Unusable(
                    f"migration {number} was applied as {applied[number]!r}, here it is {name!r}: this database"
                    " belongs to another version; upgrade, or use a database of its own"
                )
            gone = gone or not there.issuperset(_CREATED.findall(text))
            if not gone:
                continue
        for statement in statements(text, cluster):
            command(statement, None)
        if number not in applied:
            row = {"number": number, "name": name}
            command(f"INSERT INTO {APPLIED} (number, name) SELECT {{number:UInt32}}, {{name:String}}", row)
        done.append(f"{number:03d}-{name}")
    return done


def statements(text: str, cluster: str | None = None) -> list[str]:
    """The statements of a file, for one server or for a cluster. A statement ends at a semicolon that ends a line."""
    pieces = [piece.strip() for piece in re.split(r";[ \t]*$", text, flags=re.MULTILINE)]
    plain = [piece for piece in pieces if _bare(piece)]
    if cluster is None:
        return [_bare(piece) for piece in plain]
    return [statement for piece in plain for statement in clustered(piece, cluster)]


def clustered(statement: str, cluster: str) -> list[str]:
    """A statement for a cluster: a table `x` becomes `x_local`, replicated, and `x`, which distributes over the shards.

    Raises ValueError for a statement that is none of a table with `shard by:` above it, a view, and a
    table's index or new column."""
    bare = _bare(statement)
    if view := _VIEW.fullmatch(bare):
        return [f"CREATE OR REPLACE VIEW {view['name']} ON CLUSTER '{cluster}' AS\n{view['query']}"]
    if altered := _ALTERED.fullmatch(bare):
        # A distributed table has no index, but the columns of those that it stands for.
        name, change = altered["name"], altered["change"]
        tables = [f"{name}_local", name] if change.startswith("ADD COLUMN") else [f"{name}_local"]
        return [f"ALTER TABLE {table} ON CLUSTER '{cluster}' {change}" for table in tables]
    table = _TABLE.fullmatch(bare)
    if not table:
        raise ValueError(f"a cluster has no form of this statement: {bare}")
    name = table["name"]
    shard = _SHARD.search(statement)
    if not shard:
        raise ValueError(f"table {name} has no comment 'shard by:' above it, which a cluster needs")
    settings = [setting.partition(" = ") for setting in table["settings"].split(", ")]
    return [
        f"CREATE TABLE IF NOT EXISTS {name}_local ON CLUSTER '{cluster}'\n{table['columns']}\n"
        f"ENGINE = Replicated{table['engine']}{table['keys']}\n"
        f"SETTINGS {', '.join(f'{_OF_REPLICATED.get(key, key)} = {value}' for key, _, value in settings)}",
        f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER '{cluster}' AS {name}_local\n"
        f"ENGINE = Distributed('{cluster}', currentDatabase(), {name}_local, {shard[1].strip()})",
    ]


def _bare(statement: str) -> str:
    return re.sub(r"^--.*\n?", "", statement, flags=re.MULTILINE).strip()
