"""What a check says: what it found, how bad that is, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

State = Literal["ok", "warning", "wrong", "not asked"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the page; `check` is the name of the check that says it. `remedy` is "" where nothing is to do."""

    check: str
    state: State
    finding: str
    remedy: str = ""


class Told(msgspec.Struct, frozen=True):
    """A finding, before it has the name of its check."""

    state: State
    finding: str
    remedy: str = ""


class NotAsked(Exception):
    """A check cannot be made now, nor those after it in its group; the message says why."""


def ok(finding: str) -> Told:
    """All is as it should be."""
    return Told("ok", finding)


def warning(finding: str, remedy: str) -> Told:
    """It works, but somebody should know."""
    return Told("warning", finding, remedy)


def wrong(finding: str, remedy: str) -> Told:
    """It does not work, or something is lost until somebody does something."""
    return Told("wrong", finding, remedy)


def not_asked(why: str) -> Told:
    """The check could not be made."""
    return Told("not asked", f"not asked: {why}")


Check = Callable[[], list[Told]]


def span(seconds: float) -> str:
    """A length of time in words: "40 s", "12 min", "3 h", "5 days"."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def counted(number: int, noun: str) -> str:
    """So many of something: "1 file", "2,000 files"."""
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def size(count: float) -> str:
    """A number of bytes in words: "12.3 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
