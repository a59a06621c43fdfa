"""Ids that make a retry the same event: 32 lowercase hex digits, a 128-bit BLAKE2b hash.

What was sent is always part of the id. So an event sent twice has one id, whatever the order of arrival, and
the same sender id with other content is another event with another id, which nobody has to decide first.
What changes between attempts (when it was sent, when it arrived) is no part of the content.
"""

from __future__ import annotations

from hashlib import blake2b


def event_id(site: str, sender_id: str, content: bytes) -> str:
    """The id of an event to which its sender gave `sender_id`; `content` is the event as sent, in any
    canonical encoding that leaves out the times of sending and arrival."""
    return _digest(b"sent", content, site, sender_id)


def content_id(site: str, visitor: str, content: bytes) -> str:
    """The id of an event without a sender's id, whose content carries the client's time: the same thing
    done by the same visitor in the same millisecond is one event."""
    return _digest(b"content", content, site, visitor)


def derived_id(parent: str, kind: str) -> str:
    """The id of an event that follows from another (a search from the page view whose URL holds it)."""
    return _digest(b"derived", b"", parent, kind)


def _digest(use: bytes, content: bytes, first: str, second: str) -> str:
    # The second text is of any kind, so its length stands before it: no two pairs run together alike.
    head = f"{first}\0{len(second)}\0{second}\0".encode("utf-8", "surrogatepass")
    return blake2b(head + content, digest_size=16, person=use).hexdigest()
