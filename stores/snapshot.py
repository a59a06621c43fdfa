"""A snapshot of an embedded warehouse: its files as of one moment, and what its tables amount to then.

The engine cannot back itself up into a file. But its parts never change, and `FREEZE` links those that count now into
a folder beside the tables, in no time and without a copy. With the few small files around the parts (the schema, the
tokens of blocks that were inserted, mutations) they are a warehouse that the engine opens anywhere.

Nothing may be written to any table while a snapshot is taken: tables are frozen one after the other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from activity import rollup
from activity.definitions import DAY_MS
from stores.base import StoreError
from stores.warehouse import Warehouse

_PREFIX = "footfall_"  # the engine would escape a dash
_ALWAYS = 65_535 * DAY_MS  # the end of the engine's Date: later than any event
# Of a table beside its parts; `detached` holds what does not count any more.
_DEDUPLICATION = "deduplication_logs"

_TABLES = """
SELECT name FROM system.tables WHERE database = {database:String} AND engine LIKE '%MergeTree' ORDER BY name
"""
_FREEZE = "ALTER TABLE `{table}` FREEZE WITH NAME '{name}' SETTINGS alter_partition_verbose_result = 1"
_BYTES = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = {database:String}"
_SESSION_DAYS = "SELECT toRelativeDayNum(day) AS number, count() AS n FROM session_rows FINAL GROUP BY day ORDER BY day"


class Snapshot:
    """The frozen files of a warehouse in the folder `root`. `close` lets go of them."""

    def __init__(self, warehouse: Warehouse, root: Path, name: str) -> None:
        """Freeze all tables under `name`. Raises what the warehouse raises; then nothing is left."""
        self._root = root
        self._loose: list[str] = []
        self._frozen = root / "shadow" / f"{_PREFIX}{name}"
        real = os.path.realpath(self._frozen)  # the engine may tell paths without the links on the way to it
        try:
            for (table,) in warehouse.query(_TABLES, {"database": warehouse.database}).iter_rows():
                frozen = warehouse.query(_FREEZE.format(table=table, name=self._frozen.name))
                for path in frozen["part_backup_path"] if frozen.height else ():
                    inside = Path(os.path.realpath(path)).is_relative_to(real)
                    if not inside or not Path(path, "checksums.txt").is_file():
                        raise StoreError(f"{path}: a part of {table} was frozen, and is not there: try again")
        except BaseException:
            self.close()
            raise

    def loose(self) -> Iterator[tuple[Path, str]]:
        """The files around the parts and their names in a warehouse. Copy them before anything is written again."""
        for path, name in self._around():
            self._loose.append(name)
            yield path, name

    def _around(self) -> Iterator[tuple[Path, str]]:
        yield from ((path, f"metadata/{path.name}") for path in sorted(self._root.glob("metadata/*.sql")))
        for folder in sorted(self._root.glob("store/*/*")):
            for path in sorted([*folder.iterdir(), *folder.glob(f"{_DEDUPLICATION}/*")]):
                if path.is_file():
                    yield path, path.relative_to(self._root).as_posix()

    def parts(self) -> Iterator[tuple[Path, str]]:
        """The files of the parts and their names in a warehouse; they are there until `close`."""
        for folder, _, files in os.walk(self._frozen / "store"):
            for file in sorted(files):
                path = Path(folder, file)
                yield path, path.relative_to(self._frozen).as_posix()

    def opened(self, copied: Path) -> Path:
        """The folder of the frozen files, made one that an engine opens by the loose files as they were `copied`.

        What an engine writes there is in no copy: ask for `parts` before."""
        for name in self._loose:
            (self._frozen / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(copied / name, self._frozen / name)
        return self._frozen

    def close(self) -> None:
        """Remove the links. The parts themselves go when nothing else has them."""
        shutil.rmtree(self._frozen, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove what a process that was killed left frozen. Nobody may be taking a snapshot."""
    for left in root.glob(f"shadow/{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


def size(warehouse: Warehouse) -> int:
    """The bytes of all parts."""
    return int(warehouse.query(_BYTES, {"database": warehouse.database}).item() or 0)


def session_days(warehouse: Warehouse) -> dict[int, int]:
    """How many live sessions started on each UTC day (since the epoch), of all sites; days in order."""
    return {int(day): int(count) for day, count in warehouse.query(_SESSION_DAYS).iter_rows()}


def sessions_of(warehouse: Warehouse, day: int) -> pl.DataFrame:
    """The live sessions that started on a UTC day (since the epoch), as a frame of `session.COLUMNS`."""
    return warehouse.sessions_between(None, day * DAY_MS, (day + 1) * DAY_MS)


def amounts(warehouse: Warehouse) -> dict[str, int]:
    """Counts of what is live, and checksums of all sessions and rollups (64 bits); merges change none of them."""
    sessions, checksum = warehouse.sessions_checksum(None, 0, _ALWAYS)
    return {
        "events": warehouse.count_events(),
        "sessions": int(sessions),
        "dead_letters": int(warehouse.query("SELECT count() FROM dead_letter_rows").item()),
        "sessions_checksum": int(checksum or 0),
        **{f"{grain}_checksum": warehouse.rollup_checksum(grain, None, 0, _ALWAYS) for grain in rollup.GRAINS},
    }
