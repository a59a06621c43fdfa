"""The checkpoint: one small object that says everything, changed by compare-and-swap, and the segments it names.

Two swaps make a micro-batch exactly-once. The first writes the *intent*: which ranges, with which watermark,
under which batch number. The second commits: the positions move, the intent goes. Whoever finds an intent runs it
again and gets the same rows under the same tokens; whoever loses a swap was replaced by another process, forgets
what it had in hand and loads again. `hold` keeps commits off while a rebuild puts its rows in place.
"""

from __future__ import annotations

import io
import re
from hashlib import blake2b

import msgspec
import polars as pl

from activity import session
from pipeline.losses import Missing, Part
from stores.base import Checkpoint, StoreError, Unreadable

# A snapshot of the state replaces its deltas after this many.
SNAPSHOT_EVERY = 64

MARK_COLUMNS: dict[str, pl.DataType] = {"site": pl.String(), "visitor": pl.UInt64(), "day": pl.Int64()}


# A segment's name ends with the checksum of its bytes.
_CHECKED = re.compile(r"\.([0-9a-f]{32})$")


class PartitionsChanged(StoreError):
    """The broker's topics have another partition count than the checkpoint was made with."""


class Damaged(Unreadable):
    """The checkpoint is not what was written: a byte changed, or a file is cut off or missing. `path` is its name."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why, "everything is replayed from the raw events, which makes a new one")


class Range(msgspec.Struct, frozen=True):
    """The records of one partition in `(after, upto]`; positions as text, `after` None from the first kept."""

    topic: str
    partition: int
    after: str | None
    upto: str


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
    parts: list[Part] = []  # what the tables consisted of, None of them may go but by merging
    missing: list[Missing] = []  # days that are to be made again from the raw events before anything is loaded
    events: int | None = None  # stored in all; None in a checkpoint that did not count
    retracted: int = 0  # stored events that a lesser copy has replaced
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
        """Raises `Damaged`."""
        try:
            found = self.store.load(self.name)
        except Unreadable as error:
            raise Damaged(self.name, error.why) from error
        if found is None:
            self._version = None
            return None
        value, self._version = found
        return self._head(value)

    def _head(self, value: bytes) -> Head:
        checksum, separator, text = value.partition(b"\n")
        if not separator:  # written before heads had a checksum
            checksum, text = b"", value
        if checksum and checksum != _checksum(text):
            raise Damaged(self.name, "its checksum is not that of its bytes")
        try:
            return msgspec.json.decode(text, type=Head)
        except msgspec.MsgspecError as error:
            if checksum:
                raise Unreadable(
                    self.name, f"another version wrote it ({error})", "start the version of Footfall that last ran here"
                ) from error
            raise Damaged(self.name, f"it is no checkpoint ({error})") from error

    def swap(self, head: Head) -> Head:
        """Raises `Lost` when another process wrote since our last `load` or `swap`."""
        text = msgspec.json.encode(head)
        self._version = self.store.swap(self.name, _checksum(text) + b"\n" + text, self._version)
        return head

    def set_aside(self, damaged: Damaged) -> str:
        """Put what is damaged out of the way, and the head with it; where it is kept."""
        kept = self.store.set_aside(damaged.path)
        if damaged.path != self.name:
            self.store.set_aside(self.name)
        self._version = None
        return kept

    def put_frame(self, name: str, frame: pl.DataFrame) -> str:
        out = io.BytesIO()
        frame.write_ipc(out, compression="zstd")
        data = out.getvalue()
        path = f"segments-{self.unit}/{name}.{_checksum(data).decode()}"
        self.store.put(path, data)
        return path

    def get_frame(self, path: str) -> pl.DataFrame:
        """Raises `Damaged`."""
        try:
            data = self.store.get(path)
        except Unreadable as error:
            raise Damaged(path, error.why) from error
        checked = _CHECKED.search(path)
        if checked is not None and checked[1].encode() != _checksum(data):
            raise Damaged(path, "its checksum is not that of its bytes")
        try:
            return pl.read_ipc(io.BytesIO(data))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise Damaged(path, f"it is no segment ({error})") from error

    def state(self, head: Head) -> pl.DataFrame:
        """The events of open chains as of `head`. A lesser copy in a later delta replaces an earlier one."""
        paths = [head.snapshot, *head.deltas] if head.snapshot else head.deltas
        frames = [self.get_frame(path) for path in paths]
        state = session.canonical(pl.concat(frames)) if frames else session.empty_state()
        return session.prune(state, head.watermark)[0]

    def marks(self, head: Head) -> pl.DataFrame:
        frames = [self.get_frame(path) for path in head.marks]
        return pl.concat(frames).unique() if frames else pl.DataFrame(schema=MARK_COLUMNS)

    def sweep(self, head: Head) -> None:
        """Delete the segments that a crash left without a head that names them: only for who is alone."""
        named = {head.snapshot, *head.deltas, *head.marks}
        self.forget([path for path in self.store.names(f"segments-{self.unit}/") if path not in named])

    def forget(self, paths: list[str]) -> None:
        for path in paths:
            self.store.delete(path)


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).hexdigest().encode()
