"""The schema, as numbered files of plain SQL that are applied once each and in order.

Statements are written so that running one twice does no harm (`IF NOT EXISTS`, `OR REPLACE`): a migration that
was interrupted is run again from its start, and two processes that migrate at once end with the same schema.
A file is never edited after a release; one whose number is applied under another name is an error.

For a cluster the same files are translated: each table becomes a replicated table on every shard with a
Distributed table of the plain name in front, so that inserts, questions and views read the same on both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files

import polars as pl

from stores.base import Unusable

LEDGER = "schema_migrations"

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\n(.*?)\nENGINE = (\w*MergeTree)\b(.*)", re.DOTALL)
_CREATED = re.compile(r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", re.MULTILINE)
_SHARD = re.compile(r"^-- shard by: (.+)$", re.MULTILINE)

Query = Callable[[str], pl.DataFrame]
Command = Callable[[str], object]

_CREATE_LEDGER = f"""\
-- shard by: rand()
CREATE TABLE IF NOT EXISTS {LEDGER}
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
    """Run what has not been run; the names of what was.

    Where a table or view that a migration made is gone, that migration and those after it are run again."""
    for statement in statements(_CREATE_LEDGER, cluster):
        command(statement)
    applied = dict(query(f"SELECT number, any(name) AS name FROM {LEDGER} GROUP BY number").iter_rows())
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
            command(statement)
        if number not in applied:
            command(f"INSERT INTO {LEDGER} (number, name) VALUES ({number}, '{name}')")
        done.append(f"{number:03d}-{name}")
    return done


def statements(text: str, cluster: str | None = None) -> list[str]:
    """The statements of a file; a statement ends at a semicolon that ends a line."""
    pieces = [piece.strip() for piece in re.split(r";[ \t]*$", text, flags=re.MULTILINE)]
    plain = [piece for piece in pieces if _bare(piece)]
    if cluster is None:
        return [_bare(piece) for piece in plain]
    return [statement for piece in plain for statement in clustered(piece, cluster)]


def clustered(statement: str, cluster: str) -> list[str]:
    """The same for a cluster: `x` is `x_local`, replicated, on every shard, and `x` distributes over them."""
    bare = _bare(statement)
    table = _TABLE.match(bare)
    if not table:
        return [re.sub(r"^(CREATE OR REPLACE VIEW \w+)", rf"\1 ON CLUSTER '{cluster}'", bare)]
    name, columns, engine, rest = table.groups()
    shard = _SHARD.search(statement)
    if not shard:
        raise ValueError(f"table {name} has no comment 'shard by:' above it, which a cluster needs")
    rest = rest.replace("non_replicated_deduplication_window", "replicated_deduplication_window")
    return [
        f"CREATE TABLE IF NOT EXISTS {name}_local ON CLUSTER '{cluster}'\n{columns}\nENGINE = Replicated{engine}{rest}",
        f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER '{cluster}' AS {name}_local\n"
        f"ENGINE = Distributed('{cluster}', currentDatabase(), {name}_local, {shard[1].strip()})",
    ]


def _bare(statement: str) -> str:
    return re.sub(r"^--.*\n?", "", statement, flags=re.MULTILINE).strip()
