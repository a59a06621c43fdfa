"""The same visit sent by each tracker's protocol gives the same session, but for what the protocol does not carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import stores
from activity import codec, columns, session
from activity.compat.registry import PROTOCOLS
from activity.event import Event
from ingest import trackers
from ingest.client import Visitors
from ingest.collect import Collector, Options, Submission
from ingest.dead_letters import DeadLetters
from ingest.limiter import Limiter
from ingest.sites import Sites, parse
from tests.trackers.conftest import SITES
from tests.trackers.visits import AT, DIFFERS, VISITS, Sent

_OF_THE_PROTOCOL = {"visitor", "session_id"}  # an id of its own is another visitor's


def collected(folder: Path, sent: list[Sent]) -> list[Event]:
    """The events that the service makes of these requests."""
    sites, live = Sites(sites=parse(SITES, "")), stores.connect_live(str(folder / "live"))
    visitors = Visitors(live)
    visitors.look_ahead(AT)
    collector = Collector(sites, visitors, Options(), None, Limiter(), DeadLetters(lambda _: None))
    events: list[Event] = []
    for request, at in sent:
        found = trackers.route(request.path, dict(request.headers))
        submission = collector.read(request) if found is None else collector.read_tracker(found, request)
        assert isinstance(submission, Submission), submission
        if wanted := collector.wanted(submission, at):
            visitors.look_up(wanted)
        judged = collector.judge(submission, at)
        assert judged.refused == []
        events += [codec.decode(value) for entry in judged.entries for _, _, value in entry.messages]
    live.close()
    return events


def row(events: list[Event]) -> dict[str, Any]:
    frame, bad = columns.decode([codec.encode(event) for event in events])
    assert bad == []
    sessions = session.sessions(frame)
    assert sessions.height == 1
    return {name: value for name, value in sessions.row(0, named=True).items() if name not in _OF_THE_PROTOCOL}


def test_every_protocol_has_the_visit() -> None:
    assert set(VISITS) == {"footfall", *(protocol.name for protocol in PROTOCOLS)}


@pytest.mark.parametrize("name", [name for name in VISITS if name != "footfall"])
def test_the_same_visit_is_the_same_session(name: str, tmp_path: Path) -> None:
    ours, theirs = (row(collected(tmp_path / each, VISITS[each]())) for each in ("footfall", name))
    different = {column for column in ours if ours[column] != theirs[column]}
    shown = pl.DataFrame({"column": sorted(different), "ours": [str(ours[c]) for c in sorted(different)],
                          "theirs": [str(theirs[c]) for c in sorted(different)]})  # fmt: skip
    assert different == set(DIFFERS.get(name, {})), shown
