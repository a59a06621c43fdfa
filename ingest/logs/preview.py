"""What an import would take of a file, without taking it: its format, its first events, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import msgspec

from activity import codec
from activity.event import Event
from ingest.logs.batch import Batch
from ingest.logs.importer import Tally, wrong_lines

_SHOWN = 5  # events, and lines with which something is wrong


class Preview:
    """One file, read to its end. It is not compared with what is stored."""

    def __init__(self, name: str, shape: str) -> None:
        self.name = name
        self.shape = shape
        self.tally = Tally()
        self.events: list[Event] = []
        self.examples: list[str] = []

    def read(self, batches: Iterable[Batch]) -> None:
        """Count the lines, and keep the first events."""
        seen: set[str] = set()
        for batch in batches:
            accepted = batch.accepted
            fresh = []
            for index, its_id in enumerate(accepted.ids):
                if its_id not in seen:
                    seen.add(its_id)
                    fresh.append(index)
            published = sum(its.block.size for its in accepted.publishable(fresh))
            self.tally.add(batch, fresh, published - len(fresh))
            first = accepted.records(fresh[: _SHOWN - len(self.events)])
            self.events += [codec.decode(own.value or b"") for own, *_ in first]
            self.examples += wrong_lines(batch)[: _SHOWN - len(self.examples)]

    def as_json(self) -> dict[str, Any]:
        """Return all of it for programs."""
        counts = asdict(self.tally)
        del counts["seconds"]
        events = [msgspec.to_builtins(event) for event in self.events]
        return {"file": self.name, "format": self.shape} | counts | {"events": events, "problems": self.examples}
