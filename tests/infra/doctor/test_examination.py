"""A group of checks: what fails, hangs or cannot be asked is said, and hides nothing of the others."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

from brokers.base import NotAllowed, Unreachable
from infra.doctor.examination import Group
from infra.doctor.finding import Check, NotAsked, Told, ok
from stores.base import Unreadable

WELL = [ok("well")]
SOON = 20.0


def raises(error: Exception) -> Check:
    def check() -> list[Told]:
        raise error

    return check


def states(checks: dict[str, Check]) -> dict[str, str]:
    told = Group(checks, ExitStack()).findings(time.monotonic() + SOON)
    return {name: found[0].state for name, found in told.items()}


def test_a_check_that_fails_leaves_the_next_alone() -> None:
    for error in (NotAllowed("no"), Unreadable("a", "b", "c"), OSError(13, "no", "file"), KeyError("a mistake")):
        assert states({"a": raises(error), "b": lambda: WELL}) == {"a": "wrong", "b": "ok"}


def test_what_does_not_answer_is_not_asked_again() -> None:
    for error, state in ((Unreachable("away"), "wrong"), (NotAsked("none"), "not asked")):
        found = states({"a": lambda: WELL, "b": raises(error), "c": lambda: WELL, "d": lambda: WELL})
        assert found == {"a": "ok", "b": state, "c": "not asked", "d": "not asked"}


def test_what_hangs_is_told_in_time_and_its_parts_are_closed_when_it_ends() -> None:
    going_on, closed = threading.Event(), threading.Event()
    opened = ExitStack()
    opened.callback(closed.set)

    def hangs() -> list[Told]:
        assert going_on.wait(SOON)
        return WELL

    group = Group({"a": lambda: WELL, "b": hangs, "c": lambda: WELL}, opened)
    told = group.findings(time.monotonic() + 0.2)
    assert (told["b"][0].state, told["c"][0].state) == ("wrong", "not asked")
    assert told["b"][0].finding == "no answer within 4 s"
    assert told["c"][0].finding == "not asked: the check b has no answer"
    going_on.set()
    assert closed.wait(SOON)
    assert group.findings(None) == {"a": WELL, "b": WELL, "c": WELL}
