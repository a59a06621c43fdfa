"""How elements are encoded where Beam needs bytes, and how large they are where it only asks."""

from __future__ import annotations

import io
import pickle
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

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
