"""What `footfall replay` prints of a day that differs, and of how far it is."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from infra.commands.replay_lines import ReplayLines

NONE = {"added": 0, "removed": 0, "changed": 0, "examples": []}
DAY: dict[str, Any] = {
    "site": "a.example", "day": "2026-03-01", "events": 9, "sessions": 3, "visitors": 2, "sha256": "5a", "equal": True,
    "differs": [], "changes": NONE,
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at(read: int, of: int | None, stage: str = "days", goes_on_from: str | None = None) -> dict[str, Any]:
    return {"stage": stage, "read": read, "of": of, "goes_on_from": goes_on_from}


def test_a_day_that_differs_is_told_in_words_with_an_example_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    examples = [
        {"change": "removed", "visitor": "00ab", "session_id": "01", "started_at": "2026-03-01 10:00:00.000",
         "columns": {"pageviews": 2, "entry_page": "/a"}},
        {"change": "changed", "visitor": "00cd", "session_id": "02", "started_at": "2026-03-01 11:00:00.000",
         "columns": {"pageviews": [3, 2]}},
    ]  # fmt: skip
    changed = NONE | {"removed": 1, "changed": 1_200, "examples": examples}
    differing = DAY | {"equal": False, "differs": ["sessions"], "changes": changed}
    with ReplayLines(as_json=False) as lines:
        lines.take(DAY)
        lines.take(differing)
    out = capsys.readouterr().out.splitlines()
    assert (lines.days, lines.unequal) == (2, 1)
    assert out[0].endswith("sha256 5a, equal")
    assert out[1].endswith("NOT EQUAL to what was stored: sessions")
    assert out[2:] == [
        "  sessions: 0 added, 1 removed, 1,200 changed",
        '  removed, for example: visitor 00ab, started 2026-03-01 10:00:00.000 UTC: pageviews 2, entry_page "/a"',
        "  changed, for example: visitor 00cd, started 2026-03-01 11:00:00.000 UTC: pageviews 3 -> 2",
    ]


def test_a_terminal_sees_rate_share_and_the_last_day_and_stdout_has_days_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with ReplayLines(as_json=True) as lines:
        for line in (at(0, None, goes_on_from="2026-03-01"), at(10, None, "log"), at(40, 100), DAY, at(100, 100)):
            lines.take(line)
    seen = screen.getvalue()
    assert "a replay that was broken off goes on from day 2026-03-01" in seen
    assert "reading the log" in seen
    assert "40%" in seen
    assert "100 events" in seen
    assert "/s, 2026-03-01 done" in seen
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [DAY]
