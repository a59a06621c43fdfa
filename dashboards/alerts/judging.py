"""What can be watched, and when a value fires. Pure: the caller looks values up.

An alert fires when its value reaches the threshold, and is over when the value is back beyond a margin of a tenth. In
between nothing changes, so a value that wavers around the threshold is told once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from dashboards.language import N_

MARGIN = 0.1
LEAST_USUAL = 10  # visitors: fewer in this hour of former weeks say nothing about what is usual
WEEKS = 4


@dataclass(frozen=True)
class Kind:
    """A value that can be watched: what the threshold means, and whether values above or below it fire.

    `reads` is how a message tells the value."""

    words: str
    high: bool
    reads: str
    of_site: bool = True


KINDS = {
    "visitors": Kind(N_("at least so many visitors in the last hour"), True, "{:,.0f} visitors in the last hour"),
    "spike": Kind(
        N_("at least so many times the visitors that are usual at this hour"), True, "{:,.1f} times the usual visitors"
    ),
    "drop": Kind(
        N_("at most this share (0 to 1) of the visitors that are usual at this hour"), False,
        "{:.0%} of the usual visitors",
    ),
    "silence": Kind(N_("no event for so many minutes"), True, "no event for {:,.0f} minutes"),
    "lag": Kind(N_("the numbers are so many minutes behind"), True, "the numbers are {:,.0f} minutes behind", False),
    "disk": Kind(N_("at most this share (0 to 1) of a disk is free"), False, "{:.0%} of the disk is free", False),
    "dead-letters": Kind(
        N_("so many dead letters in the last hour"), True, "{:,.0f} dead letters in the last hour", False
    ),
}


def fires(kind: Kind, threshold: float, value: float, firing: bool) -> bool:
    """Whether an alert fires at this value, given whether it did before."""
    if not firing:
        return value >= threshold if kind.high else value <= threshold
    return value > threshold * (1 - MARGIN) if kind.high else value <= threshold * (1 + MARGIN)


def of_usual(now: int, former: Sequence[int]) -> float | None:
    """How many times the usual visitors there are now, by those of the same hour in former weeks; None if too few say.
    """
    usual = median(former)
    return now / usual if usual >= LEAST_USUAL else None


def unfit(kind: str, threshold: float, of_site: bool) -> str:
    """Why this cannot be watched, in words; "" if it can."""
    names = [name for name, each in KINDS.items() if each.of_site is of_site]
    if kind not in names:
        return f"{kind!r} cannot be watched here: choose one of {', '.join(names)}"
    most = 1.0 if kind in ("drop", "disk") else 1e9
    if not 0 < threshold <= most:  # so that not-a-number is refused too
        return f"the threshold of {kind} is a number above 0 and at most {most:,.0f}: {KINDS[kind].words}"
    return ""


def told(kind: str, value: float) -> str:
    """A value in words."""
    return KINDS[kind].reads.format(value)
