"""The checkpoint: one small object that says everything, changed by compare-and-swap, and the segments it names.

Two swaps make a micro-batch exactly-once. The first writes the *intent*: which ranges, with which watermark,
under which batch number. The second commits: the positions move, the intent goes. A process that finds an intent
runs it again and gets the same rows under the same tokens. A process that loses a swap was replaced by another one:
it drops what it had in hand and loads the checkpoint again. A *lease* keeps commits off while a rebuild puts its rows
in place.

A checkpoint names segments, which never change. Some hold the state, the events of open sessions: each batch adds one
with the events that it took, and their union is the state, in any order, a lesser copy in the place of a greater one.
A segment grows smaller as its events expire. When small ones are many, one segment takes the place of them all and
holds what is still open of them; one that has nothing left just goes. So what a commit writes is bounded by its batch,
however many sessions are open. The others are the *dirty days*, the visitor-days whose sessions a late event may have
changed.
"""

from __future__ import annotations

import io
import re
from hashlib import blake2b

import msgspec
import polars as pl

from activity import session
from activity.open_events import OpenEvents
from pipeline.losses import Missing, Part
from stores.base import CheckpointStore, Positions, StoreError, Unreadable

# A segment of the state is small with fewer open events than this. Small ones are folded into one as soon as there are
# so many of them, or they hold so many events.
SMALL_EVENTS = 1 << 15
MOST_SMALL = 64
FOLDED_EVENTS = 1 << 16

# `day` counts from the epoch, in UTC.
DIRTY_DAY_COLUMNS: dict[str, pl.DataType] = {"site": pl.String(), "visitor": pl.UInt64(), "day": pl.Int64()}

# A segment's name ends with the checksum of its bytes.
_SEGMENT_CHECKSUM = re.compile(r"\.([0-9a-f]{32})$")


class PartitionsChanged(StoreError):
    """The broker's topics have another partition count than the checkpoint was made with."""


class UnitsChanged(StoreError):
    """The partitions are shared out among another number of units than this loader was started for."""

    def __init__(self, of: int) -> None:
        said = "one unit has all partitions: start the loader without --unit, or share them out by `footfall units N`"
        if of > 1:
            said = f"the partitions are shared out among {of} units: start a loader for each by --unit K/{of}"
        super().__init__(said)


class UnitsChanging(StoreError):
    """The number of units is being changed, so no loader can start yet."""

    def __init__(self, to: int) -> None:
        super().__init__(f"the partitions are being shared out among {to} units: `footfall units {to}` goes on with it")


class Damaged(Unreadable):
    """The checkpoint is not what was written: a byte changed, or a file is cut off or missing. `path` is its name."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why, "everything is replayed from the raw events, which makes a new one")


class PartitionRange(msgspec.Struct, frozen=True):
    """The records of one partition in `(after, upto]`: positions as text, `after` None to begin with the first kept."""

    topic: str
    partition: int
    after: str | None
    upto: str


class Intent(msgspec.Struct, frozen=True):
    """What a batch will read and how far it moves the watermark (ms): enough to run it again with the same result."""

    batch: int
    ranges: list[PartitionRange]
    watermark: int  # before the batch
    next_watermark: int  # after it


LEASE_MS = 600_000
# By how much the clocks of hosts may differ.
_CLOCKS_MS = 300_000


class Lease(msgspec.Struct, frozen=True):
    """The unit belongs to the process `by` until `until` (ms). The lease of a process that died runs out."""

    by: str
    until: int

    def counts(self, now: int, length: int = LEASE_MS) -> bool:
        """Whether it is in force at `now`, in ms.

        A lease that goes on for longer than its `length` was taken before a clock was set back: nobody waits for it."""
        return now < self.until <= now + length + _CLOCKS_MS


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is true as of the last commit of one unit. `name=` keeps the names that stored checkpoints have."""

    version: int = 1
    batch: int = 0
    generation: str  # names this checkpoint's tokens; another checkpoint has others
    partitions: int
    positions: Positions = {}  # the last position taken
    watermark: int = 0  # ms
    snapshot: str | None = None  # a segment of the state too; only former versions wrote it
    deltas: list[str] = []
    dirty_days: list[str] = msgspec.field(name="marks", default_factory=list)
    intent: Intent | None = None
    lease: Lease | None = msgspec.field(name="hold", default=None)
    parts: list[Part] = []  # what the tables consisted of; a part may go only by merging
    missing: list[Missing] = []  # days that have to be made again from the raw events before anything is loaded
    events: int | None = None  # stored in all; None in a checkpoint that did not count
    retracted: int = 0  # stored events that a lesser copy has replaced
    lost: bool = False  # begun over a warehouse that has events already: a replay of everything has to come first
    epoch: int = 0  # of the layout of units that it was made for
    moved_to: int = 0  # the number of units that have its partitions now; it is never changed again then
    erased: int = 0  # the last erasure whose rows are out of the warehouse and the state, see `forget`

    def segments(self) -> list[str]:
        """The segments of the state."""
        return [self.snapshot, *self.deltas] if self.snapshot else list(self.deltas)

    def refuse_partitions(self, topic: str, found: int) -> None:
        """Raises `PartitionsChanged` unless a topic has as many partitions as the checkpoint was made with."""
        if found != self.partitions:
            raise PartitionsChanged(
                f"topic {topic} has {found} partitions, the checkpoint was made with {self.partitions}: visitors would"
                " move between partitions. Give the topic its former count, or begin a new checkpoint"
            )

    def position(self, topic: str, partition: int) -> str | None:
        """The last position taken from a partition, None when nothing was."""
        return self.positions.get(topic, {}).get(str(partition))

    def moved(self, ranges: list[PartitionRange]) -> Positions:
        """The positions after `ranges` were taken."""
        return moved(self.positions, ranges)


def moved(positions: Positions, ranges: list[PartitionRange]) -> Positions:
    """A copy of `positions`, moved to the ends of `ranges`."""
    after = {topic: dict(of_topic) for topic, of_topic in positions.items()}
    for r in ranges:
        after.setdefault(r.topic, {})[str(r.partition)] = r.upto
    return after


class OpenState:
    """The events of open sessions in memory, and which of them came with which segment."""

    def __init__(self) -> None:
        self.events = OpenEvents()
        self._additions: dict[str, int] = {}

    def paths(self) -> set[str]:
        """The segments whose events it has."""
        return set(self._additions)

    def add(self, path: str, events: pl.DataFrame) -> None:
        """Take in the events of a segment."""
        self._additions[path] = self.events.add(events)

    def left(self, path: str) -> int:
        """How many events of a segment are still open."""
        return self.events.left(self._additions[path])

    def still(self, paths: list[str]) -> pl.DataFrame:
        """The events of these segments that are still open (`session.STATE_COLUMNS`)."""
        return self.events.still(self._additions[path] for path in paths)

    def fold(self, paths: list[str], into: str | None) -> None:
        """The segment `into` has what was left of `paths`; None when nothing was."""
        addition = self.events.join(self._additions.pop(path) for path in paths)
        if into is not None:
            self._additions[into] = addition


class CheckpointRepository:
    """Reads and writes the checkpoint of one unit, and its segments, in a checkpoint store.

    It remembers the version that it saw last: that is the version which `swap` replaces."""

    def __init__(self, store: CheckpointStore, unit: str) -> None:
        self.store = store
        self.unit = unit
        self.name = f"unit-{unit}"
        self._version: str | None = None

    def load(self) -> Checkpoint | None:
        """The checkpoint as it is stored now, None when there is none.

        Raises `Damaged`, and `Unreadable` when another version of Footfall wrote it."""
        try:
            found = self.store.load(self.name)
        except Unreadable as error:
            raise Damaged(self.name, error.why) from error
        if found is None:
            self._version = None
            return None
        value, self._version = found
        return self._decoded(value)

    def _decoded(self, value: bytes) -> Checkpoint:
        checksum, separator, text = value.partition(b"\n")
        if not separator:  # written before checkpoints had a checksum
            checksum, text = b"", value
        if checksum and checksum != _checksum(text):
            raise Damaged(self.name, "its checksum is not that of its bytes")
        try:
            return msgspec.json.decode(text, type=Checkpoint)
        except msgspec.MsgspecError as error:
            if checksum:
                raise Unreadable(
                    self.name, f"another version wrote it ({error})", "start the version of Footfall that last ran here"
                ) from error
            raise Damaged(self.name, f"it is no checkpoint ({error})") from error

    def swap(self, checkpoint: Checkpoint) -> Checkpoint:
        """Replace the stored checkpoint; returns the new one.

        Raises `Conflict` when another process wrote since our last `load` or `swap`."""
        text = msgspec.json.encode(checkpoint)
        self._version = self.store.swap(self.name, _checksum(text) + b"\n" + text, self._version)
        return checkpoint

    def set_aside(self, damaged: Damaged) -> str:
        """Rename what is damaged, and the checkpoint with it, so that neither counts; returns the new name."""
        kept = self.store.set_aside(damaged.path)
        if damaged.path != self.name:
            self.store.set_aside(self.name)
        self._version = None
        return kept

    def put_frame(self, name: str, frame: pl.DataFrame) -> str:
        """Write a segment; returns the name to put into the checkpoint."""
        out = io.BytesIO()
        # Of a frame that was filtered, a newer form has the texts of the rows that are no longer in it, too.
        frame.write_ipc(out, compression="zstd", compat_level=pl.CompatLevel.oldest())
        data = out.getvalue()
        path = f"segments-{self.unit}/{name}.{_checksum(data).decode()}"
        self.store.put(path, data)
        return path

    def put_frames(self, name: str, frame: pl.DataFrame) -> list[str]:
        """Write rows of visitors (`site`, `visitor` and more) as segments of the units that have these visitors.

        Returns the names to put into the checkpoint."""
        return [self.put_frame(name, frame)]

    def put_open_events(self, name: str, events: pl.DataFrame) -> list[str]:
        """Write events of open sessions (`session.STATE_COLUMNS`) like `put_frames`."""
        return self.put_frames(name, events)

    def each(self) -> list[CheckpointRepository]:
        """The repositories of the units that this one stands for."""
        return [self]

    def get_frame(self, path: str) -> pl.DataFrame:
        """The frame of a segment. Raises `Damaged` when it is missing or its bytes changed."""
        return _frame_of(path, self._bytes(path)[0])

    def check(self, path: str) -> None:
        """Raise what `get_frame` raises. Bytes that have their checksum are read and not decoded."""
        data, summed = self._bytes(path)
        if not summed:
            _frame_of(path, data)

    def _bytes(self, path: str) -> tuple[bytes, bool]:
        """The bytes of a segment, and whether its name has their checksum."""
        try:
            data = self.store.get(path)
        except Unreadable as error:
            raise Damaged(path, error.why) from error
        checksum = _SEGMENT_CHECKSUM.search(path)
        if checksum is not None and checksum[1].encode() != _checksum(data):
            raise Damaged(path, "its checksum is not that of its bytes")
        return data, checksum is not None

    def state(self, checkpoint: Checkpoint, held: OpenState) -> OpenState:
        """The events of open sessions as of a checkpoint. Raises `Damaged`.

        `held` is the state as of an earlier one, or empty: it is carried along, and only segments that it lacks are
        read, unless some of its own are no more."""
        return self.read_state(checkpoint.segments(), checkpoint.watermark, held)

    def read_state(self, segments: list[str], watermark: int, held: OpenState) -> OpenState:
        """The events of open sessions in these segments, as of a watermark (ms); see `state`."""
        state = held if held.paths() <= set(segments) else OpenState()
        lacking = [path for path in segments if path not in state.paths()]
        for path, frame in [(path, self.get_frame(path)) for path in lacking]:
            state.add(path, frame)
        state.events.prune(session.pruned_at(watermark))
        return state

    def folded(self, state: OpenState, paths: list[str], batch: int) -> tuple[list[str], list[str]]:
        """Fold the small ones of these segments if they are many, and let go of those with nothing left.

        Returns the segments that hold the state now, and those to forget once a checkpoint names the former."""
        left = {path: state.left(path) for path in paths}
        small = [path for path in paths if left[path] < SMALL_EVENTS]
        if len(small) < MOST_SMALL and sum(left[path] for path in small) < FOLDED_EVENTS:
            small = [path for path in small if not left[path]]
        if not small:
            return paths, []
        events = state.still(small)
        made = [self.put_frame(f"state-{batch}", events)] if events.height else []
        state.fold(small, made[0] if made else None)
        return [*(path for path in paths if path not in small), *made], small

    def dirty_days(self, checkpoint: Checkpoint) -> pl.DataFrame:
        """The dirty days of a checkpoint (`DIRTY_DAY_COLUMNS`), each once. Raises `Damaged`."""
        frames = [self.get_frame(path) for path in checkpoint.dirty_days]
        return pl.concat(frames).unique() if frames else pl.DataFrame(schema=DIRTY_DAY_COLUMNS)

    def sweep(self, checkpoint: Checkpoint) -> None:
        """Delete the segments that `checkpoint` does not name, which a crash left behind.

        Only the sole process of the unit may do so: another one may be about to commit a segment."""
        named = {*checkpoint.segments(), *checkpoint.dirty_days}
        self.forget([path for path in self.store.names(f"segments-{self.unit}/") if path not in named])

    def forget(self, paths: list[str]) -> None:
        """Delete segments that no checkpoint names any more."""
        for path in paths:
            self.store.delete(path)


def _frame_of(path: str, data: bytes) -> pl.DataFrame:
    try:
        return pl.read_ipc(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise Damaged(path, f"it is no segment ({error})") from error


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).hexdigest().encode()
