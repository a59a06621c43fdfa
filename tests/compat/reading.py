"""A protocol as a test asks it: a request's parts in, its events and its answer out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from activity.compat.protocol import Answer, Outcome, Protocol, Tracked, TrackerBatch, TrackerRequest
from activity.incoming import DEFAULT_LIMITS
from activity.refusal import Refusal

_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20))
VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


class Sent(NamedTuple):
    """A request; `body` may be what is to become JSON."""

    path: str
    body: object = b""
    headers: Mapping[str, str] = {}
    query: str = ""
    method: str = "POST"


def batch(protocol: Protocol, sent: Sent) -> TrackerBatch:
    """The batch of a request that has events."""
    found = read(protocol, sent)
    assert isinstance(found, TrackerBatch)
    return found


def read(protocol: Protocol, sent: Sent) -> TrackerBatch | Answer:
    body = sent.body if isinstance(sent.body, bytes) else json.dumps(sent.body).encode()
    headers = {name.lower().encode(): value.encode() for name, value in sent.headers.items()}
    request = TrackerRequest(sent.method, sent.path, sent.query, headers, body)
    return protocol.read(request, DEFAULT_LIMITS)


def event(protocol: Protocol, sent: Sent) -> Tracked:
    """The only event of a request."""
    (item,) = batch(protocol, sent).items
    assert isinstance(item, Tracked), item
    return item


def answered(protocol: Protocol, found: TrackerBatch) -> Answer:
    """The answer if all that was understood is taken."""
    refused = tuple(item for item in found.items if isinstance(item, Refusal))
    return protocol.answer(Outcome(found.form, len(found.items) - len(refused), 0, refused))


def holds_for_any(protocol: Protocol, sent: Sent) -> None:
    """Whatever was sent, the events can be stored and the answer can be sent; nothing is raised."""
    found = read(protocol, sent)
    if isinstance(found, TrackerBatch):
        for item in found.items:
            if isinstance(item, Tracked):
                msgspec.json.decode(msgspec.json.encode(item), type=Tracked)  # holds the lengths of each text
        found = answered(protocol, found)
    assert 200 <= found.status < 500
    assert all(b"\n" not in value and b"\r" not in value for _, value in found.headers)


def table_is_true(protocol: Protocol, samples: Mapping[str, tuple[Sent, object]]) -> None:
    """Each line of the table is as it says, by a request with the field in it, and what to find of the field."""
    assert [field.theirs for field in protocol.fields if field.theirs not in samples] == []
    for field in protocol.fields:
        sent, mark = samples[field.theirs]
        found = read(protocol, sent)
        items: list[Any] = found.items if isinstance(found, TrackerBatch) else []
        assert not any(isinstance(item, Refusal) for item in items) or not field.ours, (field, items)
        if field.ours:
            held = msgspec.to_builtins(getattr(items[0], field.ours))
            assert _in(mark, held), (field, held)
        else:
            assert not _in(mark, msgspec.to_builtins([item for item in items if isinstance(item, Tracked)])), field


def _in(mark: object, held: object) -> bool:
    return (str(mark) if isinstance(mark, str) else json.dumps(mark)) in (
        held if isinstance(held, str) else json.dumps(held)
    )
