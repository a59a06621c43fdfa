"""How elements are encoded where Beam needs bytes, and how large they are where it only asks.

Where the frames of a run wait to be grouped: in memory, or in files where a run may be of any size.
"""

from __future__ import annotations

import io
import itertools
import pickle
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import apache_beam as beam
import polars as pl
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from stores.base import Unusable

Sharded = tuple[int, pl.DataFrame]


class FrameCoder(beam.coders.Coder):
    """Frames cross a shuffle as Arrow streams, not as pickles."""

    def encode(self, value: pl.DataFrame) -> bytes:
        out = io.BytesIO()
        value.write_ipc_stream(out)
        return out.getvalue()

    def decode(self, encoded: bytes) -> pl.DataFrame:
        return pl.read_ipc_stream(io.BytesIO(encoded))

    def estimate_size(self, value: pl.DataFrame) -> int:
        return int(value.estimated_size())

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> type[pl.DataFrame]:
        return pl.DataFrame


class Passing:
    """The type of elements that only pass from step to step inside a stage: raw batches, deduplicated shards."""


class PassingCoder(beam.coders.Coder):
    """Beam measures elements by encoding them when a coder cannot say their size: half of a run's time, here."""

    def encode(self, value: object) -> bytes:
        return pickle.dumps(value)

    def decode(self, encoded: bytes) -> object:
        return pickle.loads(encoded)  # noqa: S301 (our own bytes, within one process)

    def estimate_size(self, value: object) -> int:  # noqa: ARG002 (Beam's signature)
        return 1

    def to_type_hint(self) -> type[Passing]:
        return Passing


beam.coders.registry.register_coder(pl.DataFrame, FrameCoder)
beam.coders.registry.register_coder(Passing, PassingCoder)


def typed(outputs: Any, tags: list[str], kind: Any) -> Any:
    """Give tagged outputs the type that Beam only lets the main one have; untyped they would be pickled."""
    for tag in tags:
        outputs[tag].element_type = convert_to_beam_type(kind)
    return outputs


class Waiting(Protocol):
    """Where a run's frames wait, by names of its own."""

    def put(self, frame: pl.DataFrame) -> str: ...

    def take(self, names: Iterable[str]) -> pl.DataFrame:
        """The frames one after the other; they no longer wait."""

    def close(self) -> None:
        """Forget what waits."""


class InMemory:
    def __init__(self) -> None:
        self._frames: dict[str, pl.DataFrame] = {}
        self._numbers = itertools.count()

    def put(self, frame: pl.DataFrame) -> str:
        name = str(next(self._numbers))
        self._frames[name] = frame
        return name

    def take(self, names: Iterable[str]) -> pl.DataFrame:
        return pl.concat([self._frames.pop(name) for name in names])

    def close(self) -> None:
        self._frames.clear()


class InFiles:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="footfall-")
        self._numbers = itertools.count()

    def put(self, frame: pl.DataFrame) -> str:
        path = Path(self._folder.name) / f"{next(self._numbers)}.arrow"
        try:
            frame.write_ipc(path)
        except OSError as error:
            raise Unusable(f"{path.parent}: {error}: make room, or name another folder by TMPDIR") from error
        return str(path)

    def take(self, names: Iterable[str]) -> pl.DataFrame:
        paths = [Path(name) for name in names]
        frame = pl.scan_ipc(paths).collect().rechunk()  # texts are found twice as fast in one piece
        for path in paths:
            path.unlink()
        return frame

    def close(self) -> None:
        self._folder.cleanup()
