"""The checkpoint: one small object that says everything, changed by compare-and-swap, and the segments it names.

Two swaps make a micro-batch exactly-once. The first writes the *intent*: which ranges, with which watermark,
under which batch number. The second commits: the positions move, the intent goes. Whoever finds an intent runs it
again and gets the same rows under the same tokens; whoever loses a swap was replaced by another process, forgets
what it had in hand and loads again. `hold` keeps commits off while a rebuild puts its rows in place.
"""

from __future__ import annotations

import io

import msgspec
import polars as pl

from activity import session
from pipeline.source import Range
from stores.base import Checkpoint, StoreError

# A snapshot of the state replaces its deltas after this many.
SNAPSHOT_EVERY = 64

MARK_COLUMNS: dict[str, pl.DataType] = {"site": pl.String(), "visitor": pl.UInt64(), "day": pl.Int64()}


class PartitionsChanged(StoreError):
    """The broker's topics have another partition count than the checkpoint was made with."""


class Intent(msgspec.Struct, frozen=True):
    batch: int
    ranges: list[Range]
    watermark: int  # that of the moment before the batch, ms
    next_watermark: int


class Hold(msgspec.Struct, frozen=True):
    by: str
    until: int  # ms; a holder that died is not waited for longer


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is true as of the last commit of one unit."""

    version: int = 1
    batch: int = 0
    generation: str  # names this checkpoint's tokens; another checkpoint has others
    partitions: int
    positions: dict[str, dict[str, str]] = {}  # topic -> partition -> last position taken
    watermark: int = 0
    snapshot: str | None = None
    deltas: list[str] = []
    marks: list[str] = []
    intent: Intent | None = None
    hold: Hold | None = None
    lost: bool = False  # begun over a warehouse that holds events already: a replay of everything has to come first

    def position(self, topic: str, partition: int) -> str | None:
        return self.positions.get(topic, {}).get(str(partition))

    def moved(self, ranges: list[Range]) -> dict[str, dict[str, str]]:
        """The positions after `ranges` were taken."""
        positions = {topic: dict(of_topic) for topic, of_topic in self.positions.items()}
        for r in ranges:
            positions.setdefault(r.topic, {})[str(r.partition)] = r.upto
        return positions


class Ledger:
    """The head of one unit in a checkpoint store, with the swap that guards it."""

    def __init__(self, store: Checkpoint, unit: str) -> None:
        self.store = store
        self.unit = unit
        self.name = f"unit-{unit}"
        self._version: str | None = None

    def load(self) -> Head | None:
        found = self.store.load(self.name)
        if found is None:
            self._version = None
            return None
        value, self._version = found
        return msgspec.json.decode(value, type=Head)

    def swap(self, head: Head) -> Head:
        """Raises `Lost` when another process wrote since our last `load` or `swap`."""
        self._version = self.store.swap(self.name, msgspec.json.encode(head), self._version)
        return head

    def put_frame(self, name: str, frame: pl.DataFrame) -> str:
        out = io.BytesIO()
        frame.write_ipc(out, compression="zstd")
        path = f"segments-{self.unit}/{name}"
        self.store.put(path, out.getvalue())
        return path

    def get_frame(self, path: str) -> pl.DataFrame:
        return pl.read_ipc(io.BytesIO(self.store.get(path)))

    def state(self, head: Head) -> pl.DataFrame:
        """The events of open chains as of `head`. A lesser copy in a later delta replaces an earlier one."""
        paths = [head.snapshot, *head.deltas] if head.snapshot else head.deltas
        frames = [self.get_frame(path) for path in paths]
        state = session.canonical(pl.concat(frames)) if frames else session.empty_state()
        return session.prune(state, head.watermark)[0]

    def marks(self, head: Head) -> pl.DataFrame:
        frames = [self.get_frame(path) for path in head.marks]
        return pl.concat(frames).unique() if frames else pl.DataFrame(schema=MARK_COLUMNS)

    def forget(self, paths: list[str]) -> None:
        for path in paths:
            self.store.delete(path)
