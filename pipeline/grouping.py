"""How frames travel between the steps: grouped by shard through the run's exchange, and encoded where Beam needs bytes.

Beam encodes an element where it leaves a stage, and asks for its size in between. `FrameCoder` writes frames as Arrow
streams; `PassingCoder` is for elements that never leave their stage, and keeps Beam from encoding them only to learn
their size.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.exchange import Exchange
from pipeline.run import RunRef

Sharded = tuple[int, pl.DataFrame]


class FrameCoder(beam.coders.Coder):
    """Encodes a frame as an Arrow stream, not as a pickle."""

    def encode(self, value: pl.DataFrame) -> bytes:
        """The frame as an Arrow IPC stream."""
        out = io.BytesIO()
        value.write_ipc_stream(out)
        return out.getvalue()

    def decode(self, encoded: bytes) -> pl.DataFrame:
        """The frame of an Arrow IPC stream."""
        return pl.read_ipc_stream(io.BytesIO(encoded))

    def estimate_size(self, value: pl.DataFrame) -> int:
        """Bytes that the frame takes in memory."""
        return int(value.estimated_size())

    def is_deterministic(self) -> bool:
        """False: a frame is never a key."""
        return False

    def to_type_hint(self) -> type[pl.DataFrame]:
        """The type that this coder is registered for."""
        return pl.DataFrame


class Passing:
    """The type of elements that only pass from step to step inside a stage: raw batches, deduplicated shards."""


class PassingCoder(beam.coders.Coder):
    """Says a size without encoding: Beam would pickle each element to learn it, which took half of a run's time."""

    def encode(self, value: object) -> bytes:
        """The element as a pickle."""
        return pickle.dumps(value)

    def decode(self, encoded: bytes) -> object:
        """The element of a pickle that this process made."""
        return pickle.loads(encoded)  # noqa: S301 (our own bytes, within one process)

    def estimate_size(self, value: object) -> int:  # noqa: ARG002 (Beam's signature)
        """Always 1: nothing is decided by the size of such an element."""
        return 1

    def to_type_hint(self) -> type[Passing]:
        """The type that this coder is registered for."""
        return Passing


# Beam has one registry of coders a process, and finds a type's coder only there.
beam.coders.registry.register_coder(pl.DataFrame, FrameCoder)
beam.coders.registry.register_coder(Passing, PassingCoder)


def typed(outputs: Any, tags: list[str], kind: Any) -> Any:
    """Give the tagged outputs of a ParDo an element type, which Beam lets only the main one have; returns them.

    Without a type they would be pickled."""
    for tag in tags:
        outputs[tag].element_type = convert_to_beam_type(kind)
    return outputs


def _exchange(ref: RunRef) -> Exchange:
    exchange = ref.run().exchange
    assert exchange is not None, "a runner gives every run an exchange"
    return exchange


class _WriteFrame(beam.DoFn):
    def __init__(self, ref: RunRef) -> None:
        self.ref = ref

    def process(self, element: Sharded) -> Iterator[tuple[int, str]]:
        shard, frame = element
        yield shard, _exchange(self.ref).write(frame)


class _ReadFrames(beam.DoFn):
    def __init__(self, ref: RunRef) -> None:
        self.ref = ref

    def process(self, element: tuple[int, Iterable[str]]) -> Iterator[Sharded]:
        shard, names = element
        yield shard, _exchange(self.ref).read(names)


class GroupFrames(beam.PTransform):
    """(shard, frame) to (shard, one frame of all that came for it), through the run's exchange."""

    def __init__(self, ref: RunRef) -> None:
        super().__init__()
        self.ref = ref

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        return (
            pcoll
            | "WriteFrame" >> beam.ParDo(_WriteFrame(self.ref)).with_output_types(tuple[int, str])
            | "Group" >> beam.GroupByKey()
            | "ReadFrames" >> beam.ParDo(_ReadFrames(self.ref)).with_output_types(Passing)
        )
