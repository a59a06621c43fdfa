"""How frames travel between the steps: grouped by shard through the run's exchange, and encoded where Beam needs bytes.

Beam encodes an element where it leaves a stage, and asks for its size in between. `FrameCoder` writes frames as Arrow
streams; `PassingCoder` is for elements that never leave their stage, and keeps Beam from encoding them only to learn
their size.
"""

from __future__ import annotations

import io
import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.transforms.window import GlobalWindows
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


class Step(beam.DoFn):
    """A DoFn that hides from `dir` the methods that every DoFn inherits.

    Beam inspects the signature of each method that `dir` names, twice a DoFn and bundle, in search of state and timers.
    Over the some thirty inherited ones, which have none, that was a tenth of what a micro-batch costs."""

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__()} - _INHERITED)


_INHERITED = {*dir(beam.DoFn)} - {"process", "start_bundle", "finish_bundle"}


class _Threaded(Step):
    """A step whose work is done by two threads, while the steps beside it go on with the elements before and after.

    At most `_AHEAD` elements are in work or wait to be passed on, in the order in which they came. A run of one shard
    has one element and nothing to go on with, so it is not `ahead`: the step does the work itself."""

    _AHEAD = 2

    def __init__(self, ref: RunRef, ahead: bool) -> None:
        self.ref = ref
        self.ahead = ahead

    def work(self, element: Any) -> Any:
        """What the step makes of an element. Runs in a thread, so it counts nothing: Beam's counters are by thread."""
        raise NotImplementedError

    def start_bundle(self) -> None:
        self._threads = ThreadPoolExecutor(self._AHEAD, "exchange")
        self._begun: deque[Future[Any]] = deque()

    def process(self, element: Any) -> Iterator[Any]:
        if not self.ahead:
            yield self.work(element)
            return
        self._begun.append(self._threads.submit(self.work, element))
        if len(self._begun) > self._AHEAD:
            yield self._begun.popleft().result()

    def finish_bundle(self) -> Iterator[Any]:
        while self._begun:
            yield GlobalWindows.windowed_value(self._begun.popleft().result())
        self._threads.shutdown()

    def teardown(self) -> None:
        """Beam calls this after a fault too; then a write may still be on its way."""
        if hasattr(self, "_threads"):
            self._threads.shutdown(cancel_futures=True)


class _WriteFrame(_Threaded):
    def work(self, element: Sharded) -> tuple[int, str]:
        shard, frame = element
        return shard, _exchange(self.ref).write(frame)


class _ReadFrames(_Threaded):
    def work(self, element: tuple[int, Iterable[str]]) -> Sharded:
        shard, names = element
        return shard, _exchange(self.ref).read(names)


class GroupFrames(beam.PTransform):
    """(shard, frame) to (shard, one frame of all that came for it), through the run's exchange.

    With `ahead` the exchange works in threads, while the steps beside it go on."""

    def __init__(self, ref: RunRef, ahead: bool = False) -> None:
        super().__init__()
        self.ref = ref
        self.ahead = ahead

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        return (
            pcoll
            | "WriteFrame" >> beam.ParDo(_WriteFrame(self.ref, self.ahead)).with_output_types(tuple[int, str])
            | "Group" >> beam.GroupByKey()
            | "ReadFrames" >> beam.ParDo(_ReadFrames(self.ref, self.ahead)).with_output_types(Passing)
        )
