"""A log that ends before positions that others keep: its last records were lost, or an older copy was put back.

Were their places given again, new records would be taken for loaded and for archived. So the log goes on behind every
position that is known: in the places of the lost records are emptied ones, which nothing counts. Nobody's position
moves back, no two records ever share a place, and what was loaded of the lost records stays in warehouse and archive.

Positions are read from the values themselves, because this runs before events are taken, in processes that load
neither checkpoints nor frames. A value that cannot be read is passed over: whoever needs it says so.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from brokers.base import Bounds, Position, Resumable, TopicPartition
from stores.base import CheckpointStore, Positions, Unreadable

log = logging.getLogger("footfall.pipeline")

MANIFEST = "head.json"  # of the archive, see `stores.archive`
_CHECKSUM_AT_END = re.compile(rb',"checksum":"([0-9a-f]*)"}$')
_KEEPERS = ("unit-", "replay-")


class _Range(msgspec.Struct, frozen=True):
    topic: str
    partition: int
    upto: str
    after: str | None = None


class _Intent(msgspec.Struct, frozen=True):
    ranges: list[_Range]


class _Value(msgspec.Struct, frozen=True):
    """What a checkpoint, a replay's journal and the manifest of an archive have in common."""

    positions: Positions | None = None
    upto: Positions = {}
    intent: _Intent | None = None
    partitions: int | None = None


class Kept:
    """The positions that checkpoints, replays and the archive keep."""

    def __init__(self, checkpoints: CheckpointStore | None, manifest: CheckpointStore | None) -> None:
        """Read them; a store that is not there keeps none. Raises `StoreError`."""
        self.partitions: int | None = None  # of a topic, as a checkpoint was made with
        self._readers: list[Positions] = []  # who reads on after these
        self._last: defaultdict[TopicPartition, set[Position]] = defaultdict(set)
        names = checkpoints.names() if checkpoints else []
        for name in (name for name in names if name.startswith(_KEEPERS) and "/" not in name):
            self._read(checkpoints, name)
        self._read(manifest, MANIFEST)

    def _read(self, store: CheckpointStore | None, name: str) -> None:
        try:
            found = store.load(name) if store else None
        except Unreadable:
            return
        if found is None:
            return
        text = _whole(found[0])
        try:
            value = msgspec.json.decode(text, type=_Value)
            places = [
                (TopicPartition(topic, int(number)), Position.parse(position))
                for positions in (value.positions or {}, value.upto)
                for topic, texts in positions.items()
                for number, position in texts.items()
            ]
            ranges = value.intent.ranges if value.intent else []
            places += [(TopicPartition(each.topic, each.partition), Position.parse(each.upto)) for each in ranges]
        except ValueError:  # as those of msgspec are
            return
        self.partitions = value.partitions or self.partitions
        if value.positions is not None:
            self._readers.append(value.positions)
        for partition, place in places:
            self._last[partition].add(place)

    def last(self, partition: TopicPartition) -> dict[str, Position]:
        """The last position that is known of each incarnation of a partition."""
        found: dict[str, Position] = {}
        for position in sorted(self._last[partition]):
            found[position.incarnation] = position
        return found

    def read(self, partition: TopicPartition, incarnation: str) -> Position | None:
        """The position after which somebody reads on who has come least far; None is the beginning."""
        texts = [positions.get(partition.topic, {}).get(str(partition.number)) for positions in self._readers]
        found = [Position.parse(text) if text else None for text in texts]
        whole = [position for position in found if position is not None and position.incarnation == incarnation]
        return min(whole) if len(whole) == len(found) and whole else None

    def known(self) -> Iterable[TopicPartition]:
        """The partitions of which a position is kept."""
        return sorted(self._last)


def _whole(value: bytes) -> bytes:
    """The JSON of a value, nothing if its checksum is another: on a line before it, or at its end. Not all have one."""
    start = value.find(b"{")
    head, text = value[:start].strip(), value[start:]
    end = _CHECKSUM_AT_END.search(text)
    said, summed = (end[1], text[: end.start()]) if end else (head, text)
    return b"" if said and said != blake2b(summed, digest_size=16).hexdigest().encode() else text


def resume(broker: Resumable, kept: Kept, *, anew: bool) -> list[tuple[TopicPartition, Bounds]]:
    """Have the log go on behind the positions that are kept; returns the places that were lost, and logs them.

    With `anew`, a log that was made anew becomes the one of these positions. Raises `BrokerError`."""
    lost = []
    for partition in kept.known():
        for incarnation, last in kept.last(partition).items():
            places = broker.resume_after(partition, kept.read(partition, incarnation), last, anew=anew)
            if places is not None:
                lost.append((partition, places))
    if lost:
        log.warning("%s", in_words(lost))
    return lost


def in_words(lost: Iterable[tuple[TopicPartition, Bounds]]) -> str:
    """What is said of lost records, by topic, partition and range."""
    said = ", ".join(f"{partition} {places.first} to {places.last}" for partition, places in lost)
    return (
        f"The log has lost its last records, or an older copy of it was put back: {said}. It goes on behind these"
        " positions. What was loaded of them is in warehouse and archive; what came after them and was not loaded is"
        " lost. `footfall audit` names the hours"
    )
