"""Whether a position is one of this log, for positions that are offsets."""

from __future__ import annotations

from brokers.base import Gone, Position, WrongIncarnation

MADE_AGAIN = (
    "the topic was made again, or this is another broker. `footfall broker move FROM TO` takes the records and the"
    " checkpoint from one broker to another; else start from a checkpoint of this one or from its beginning"
)


def check_position(topic: str, partition: int, position: Position, incarnation: str, end: int) -> None:
    """A position of another log, by its incarnation or because it lies beyond the end, is a named error."""
    if position.incarnation != incarnation:
        raise WrongIncarnation(
            f"{topic}[{partition}]: position {position} belongs to another incarnation than {incarnation}: {MADE_AGAIN}"
        )
    if position.order[0] >= end:
        raise WrongIncarnation(
            f"{topic}[{partition}]: position {position} lies beyond the end {end}: the checkpoint belongs to another"
            " log, or the log was restored from an older copy"
        )


def gone(topic: str, partition: int, wanted: int, first: int) -> Gone:
    """The error for a first record wanted that lies before the first one kept."""
    return Gone(
        f"{topic}[{partition}]: records from offset {wanted} were removed by retention, the first kept is {first}:"
        " read them from the archive, or go on from the first kept"
    )
