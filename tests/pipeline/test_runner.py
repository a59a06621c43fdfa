"""Runs that share the compiled graphs of one runner, one after the other and at the same time."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import polars as pl
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.transforms import userstate

from activity import codec, columns
from brokers.base import Unreachable
from pipeline.grouping import Step
from pipeline.run import Run
from pipeline.runner import Runner
from tests.pipeline.world import event


class Frame:
    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def batches(self) -> Iterator[pl.DataFrame]:
        events = [codec.encode(event(number)) for number in self.numbers]
        yield columns.decode(events)[0].select(columns.COLUMNS.keys())


def ids(frames: list[pl.DataFrame]) -> list[int]:
    return sorted(pl.concat(frames)["id_lo"])


def test_a_run_within_a_run_has_its_own_feeds_and_writes() -> None:
    runner = Runner()
    inner: list[pl.DataFrame] = []
    outer: list[pl.DataFrame] = []

    class Nested(Frame):
        """While the outer run reads this feed, a run with the same sinks goes from its start to its end."""

        def batches(self) -> Iterator[pl.DataFrame]:
            runner.run(Run([Frame(1, 2)], {"events": lambda frame, block: inner.append(frame)}))
            yield from super().batches()

    counters = runner.run(Run([Nested(3, 4, 5)], {"events": lambda frame, block: outer.append(frame)}))
    assert (ids(inner), ids(outer)) == ([1, 2], [3, 4, 5])
    assert counters["dedupe.fresh"] == 3


def test_a_graph_is_compiled_once_for_runs_that_follow_each_other() -> None:
    runner = Runner()
    runner.compile(frozenset({"events"}))
    compiled = runner._idle[frozenset({"events"}), 1][0]
    for number in (1, 2):
        found: list[pl.DataFrame] = []
        runner.run(Run([Frame(number)], {"events": lambda frame, block, found=found: found.append(frame)}))
        assert ids(found) == [number]
    assert runner._idle == {(frozenset({"events"}), 1): [compiled]}


@pytest.mark.parametrize("fault", [Unreachable("the broker is gone"), LookupError("a mistake of ours")], ids=type)
def test_a_fault_ends_the_run_and_the_run_around_it(fault: Exception) -> None:
    runner = Runner()

    class Broken(Frame):
        def batches(self) -> Iterator[pl.DataFrame]:
            raise fault
            yield

    class Nested(Frame):
        def batches(self) -> Iterator[pl.DataFrame]:
            runner.run(Run([Broken()], {"events": lambda frame, block: None}))
            yield from super().batches()

    with pytest.raises(type(fault) if isinstance(fault, Unreachable) else Exception, match=str(fault)):
        runner.run(Run([Nested(1)], {"events": lambda frame, block: None}))


def test_beam_inspects_what_a_step_defines_and_nothing_that_it_inherits() -> None:
    class Counts(Step):
        STATE = userstate.ReadModifyWriteStateSpec("count", VarIntCoder())

        def process(self, element: int, count: object = beam.DoFn.StateParam(STATE)) -> Iterator[int]:
            yield element

    assert userstate.is_stateful_dofn(Counts())
    inspected = {name for name in dir(Counts()) if callable(getattr(Counts, name, None))}
    assert inspected == {"process", "start_bundle", "finish_bundle"}
