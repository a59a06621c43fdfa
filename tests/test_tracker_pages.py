"""The pages on other trackers say what the protocols do, and each protocol has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from activity.compat.protocol import Protocol
from activity.compat.registry import PROTOCOLS
from activity.event import Event
from tests.trackers import pages

# What an event takes over of a tracker's under another name, or only to find out more.
_ON_THE_WAY = {"ts", "client", "address", "agent", "search"}


@pytest.mark.parametrize(("name", "text"), pages.pages().items())
def test_a_page_is_what_the_protocol_says(name: str, text: str) -> None:
    path = pages.FOLDER / name
    assert path.exists(), "`python -m tests.trackers.pages` writes it"
    assert path.read_text(encoding="utf-8") == text, "`python -m tests.trackers.pages` writes it anew"


def test_no_page_is_left_of_a_protocol_that_is_gone() -> None:
    assert {path.name for path in pages.FOLDER.glob("*.md")} == set(pages.pages())


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_a_table_names_fields_of_events_and_reasons(protocol: Protocol) -> None:
    known = {*Event.__struct_fields__, *_ON_THE_WAY}
    assert [field for field in protocol.fields if field.ours and field.ours not in known] == []
    assert [field.theirs for field in protocol.fields if not field.ours and not field.note] == []
    names = [field.theirs for field in protocol.fields]
    assert len(names) == len(set(names))
    assert "write_keys" in protocol.notes or "ids" in protocol.notes  # the sites file
    assert "http" in protocol.notes  # what to set


def test_the_readme_leads_to_the_pages() -> None:
    root = Path(__file__).parents[1]
    assert "docs/trackers/README.md" in (root / "README.md").read_text(encoding="utf-8")
