"""Visitors and event ids: the same in, the same out; anything else, something else."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from activity.event import content_id, derived_id, event_id, import_visitor, named_visitor, visitor_id

texts = st.text(max_size=30)
SALT = b"0123456789abcdef"


@given(texts, texts, texts)
def test_visitors_are_16_hex_digits_and_deterministic(site: str, ip: str, agent: str) -> None:
    first = visitor_id(SALT, site, ip, agent)
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first == visitor_id(SALT, site, ip, agent)
    assert first != visitor_id(b"another", site, ip, agent)
    assert first != import_visitor(SALT, site, ip, agent)


@given(st.lists(st.tuples(texts, texts, st.binary(max_size=20)), min_size=2, max_size=2, unique=True))
def test_ids_tell_apart_whatever_differs(sent: list[tuple[str, str, bytes]]) -> None:
    one, other = (event_id(*each) for each in sent)
    assert re.fullmatch("[0-9a-f]{32}", one)
    assert one != other
    assert one != content_id(*sent[0])


def test_known_values_never_change() -> None:
    """Stored ids must be met again by every later version."""
    assert visitor_id(SALT, "example.com", "192.0.2.1", "Mozilla/5.0") == "3efc6588725d753e"
    assert import_visitor(SALT, "example.com", "192.0.2.1", "Mozilla/5.0") == "30735bdf404e9849"
    assert named_visitor("example.com", SALT, "anna") == "a4039832ac4a1aa6"
    assert event_id("example.com", "a1", b"{}") == "ae4a8e24b7c7c9f1cb81dfa21f066221"
    assert content_id("example.com", "0011223344556677", b"{}") == "06198f6bce24c070c8b8d65f18d8ee9f"
    assert derived_id("00112233445566778899aabbccddeeff", "search") == "a82770d54274bdb4169f757a0db15846"
