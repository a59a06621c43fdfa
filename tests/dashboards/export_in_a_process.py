"""Exports some events of one day in a process of its own: `export_in_a_process.py FORM EVENTS`.

Prints the bytes of the file, and by how many bytes of memory the process grew at most."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

import stores
from activity.definitions import DAY_MS
from dashboards import downloads
from stores import exports

SITE = "example.com"
BATCH = 50_000


def events(first: int, count: int) -> pl.DataFrame:
    """Events of which each has some text of its own."""
    number = pl.int_range(first, first + count, dtype=pl.UInt64, eager=True).alias("id_lo")
    own = pl.col("id_lo")
    text = pl.concat_str(pl.lit("https://example.com/page/"), own.hash(1), pl.lit("/"), own.hash(2))
    return number.to_frame().with_columns(
        text.alias("url"), text.str.slice(19).alias("path"), text.str.reverse().alias("referrer"),
        site=pl.lit(SITE), visitor=pl.col("id_lo") // 3, id_hi=pl.lit(1, pl.UInt64), type=pl.lit("pageview"),
        occurred_at=20_000 * DAY_MS + (pl.col("id_lo") * 7919 % DAY_MS).cast(pl.Int64),
        received_at=pl.lit(20_000 * DAY_MS, pl.Int64), title=pl.col("id_lo").hash(3).cast(pl.String),
        user=pl.col("id_lo").hash(4).cast(pl.String), batch=pl.lit(1, pl.UInt64),
    )  # fmt: skip


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    status = Path("/proc/self/status").read_text().partition(f"{name}:")[2]
    return int(status.split()[0]) * 1024


form, count = sys.argv[1], int(sys.argv[2])
warehouse = stores.connect_warehouse("chdb://")
warehouse.migrate()
warehouse.command("SYSTEM STOP MERGES")  # their memory is not that of the export
for first in range(0, count, BATCH):
    warehouse.insert("event_rows", events(first, min(BATCH, count - first)), f"events {first}")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = memory("VmRSS")
frames = exports.pages(warehouse, "events", SITE, 20_000 * DAY_MS, 20_001 * DAY_MS)
size = sum(len(piece) for piece in downloads.ROWS[form].write(frames))
sys.stdout.write(json.dumps({"bytes": size, "more": memory("VmHWM") - before}))
warehouse.close()
