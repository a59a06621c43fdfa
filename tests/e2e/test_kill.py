"""kill -9 of each process of `up` in the middle of a stream of known events: none is lost, none counts twice."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import SITE
from tests.e2e.proof import assert_rollups_equal_a_group_by, by_parquet, by_script, digests, flushed, replay
from tests.e2e.stream import EVENTS, VICTIMS, VISITORS, Stream
from tests.patience import patient

pytestmark = pytest.mark.slow

KILLS = (0.25, 0.6)  # of the events


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_in_the_middle_of_a_stream_the_counts_are_exact(start: Start, victim: str) -> None:
    up = start("--site", SITE).wait_ready()
    stream = Stream(up)
    stream.start()
    for share in KILLS:
        stream.reach(share)
        pid = VICTIMS[victim](up)
        os.kill(pid, signal.SIGKILL) if pid > 0 else os.killpg(-pid, signal.SIGKILL)
        if victim in ("supervisor", "all of it"):
            up.gone()
            up = start().wait_ready()
            stream.up = up
    stream.join()
    assert stream.acked == EVENTS

    searches = EVENTS // 10
    numbers = {"visitors": VISITORS, "visits": VISITORS, "pageviews": EVENTS, "searches": searches}
    up.shows(numbers, seconds=patient(120))
    (found,) = up.sql("SELECT count() AS n, uniqExact(id) AS ids, uniqExact(url) AS urls FROM events")
    assert {name: int(value) for name, value in found.items()} == {
        "n": EVENTS + searches, "ids": EVENTS + searches, "urls": EVENTS,
    }  # fmt: skip
    assert_rollups_equal_a_group_by(up)
    for source in ("broker", "archive"):
        reports = replay(up.data, "--source", source)
        assert [report["equal"] for report in reports] == [True] * len(reports)
        assert sum(report["sessions"] for report in reports) == VISITORS
    up.shows(numbers, seconds=0)
    flushed(up.data)
    assert by_script(up.data) == digests(reports)
    expected = by_parquet(up.data, SITE)
    assert {name: expected[name] for name in numbers} == numbers
    assert up.stop() == 0
