"""Batches of Segment's clients: as they should be, as lists, written twice, with holes, or several one behind the
other. Nothing here raises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from activity.compat import values
from activity.compat.segment_messages import Message, Sender, event_of, parse, shared_by
from activity.incoming import Incoming, Limits
from activity.refusal import Reason, Refusal

# A text of JSON, whole or cut off, or a comma that nothing follows or that nothing comes before.
_TEXT_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|$)|,(?=\s*+[,\]}])|\[(?:\s*+,)++', re.DOTALL)
_MOST_BATCHES = 100  # one behind the other
_json = json.JSONDecoder()


class Envelope(msgspec.Struct):
    """A batch with its messages as they came."""

    batch: list[msgspec.Raw] | None = None  # None in a message that is alone
    context: dict[str, Any] | None = None
    sentAt: Any = None  # noqa: N815 - a name of theirs
    writeKey: Any = None  # noqa: N815


class Batch(msgspec.Struct):
    """A batch of which each message fits its types."""

    batch: list[Message]
    context: dict[str, Any] | None = None
    sentAt: Any = None  # noqa: N815
    writeKey: Any = None  # noqa: N815


class Opened(NamedTuple):
    """What a body holds."""

    envelope: Batch | Envelope
    is_made: bool = False  # the messages were written here again: a NUL in one is none that the body shows


_envelope = msgspec.json.Decoder(Envelope)
_batch = msgspec.json.Decoder(Batch)


def opened(body: bytes, limits: Limits, *, is_small: bool) -> Opened | Refusal:
    """Return the batch of a body, or what can be made of one that does not fit its types.

    `is_small`: none of its messages can be too large, nor has a NUL."""
    try:
        if is_small:
            return Opened(_batch.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return Opened(_envelope.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = values.from_json(body, limits)
    if isinstance(parsed, Refusal):
        parsed = _whole(body) or parsed if parsed.reason is Reason.MALFORMED else parsed
    if isinstance(parsed, Refusal):
        return parsed
    if isinstance(parsed, list):
        keys = {values.text(each["writeKey"], 512) for each in parsed if values.obj(each).get("writeKey")}
        parsed = {"batch": parsed, "writeKey": keys.pop() if len(keys) == 1 else None}
    if not isinstance(parsed, dict):
        return Refusal(0, Reason.UNKNOWN_FIELD_TYPE, 'the body is no object: send {"batch": […]}, or one message')
    batch = values.listed(parsed.get("batch"))
    if isinstance(batch, dict):
        batch = [batch]
    if batch is not None and not isinstance(batch, list):
        return Refusal(0, Reason.UNKNOWN_FIELD_TYPE, "`batch` must be a list of messages")
    return Opened(_made(batch, parsed), is_made=True)


def events_of(found: Opened, sender: Sender, kind: str = "") -> list[Incoming | Refusal]:
    """Return the events of what a body holds, each with its refusal if it has to be mended. `kind` is of those that
    name none."""
    items: list[Incoming | Refusal] = []
    batch = found.envelope
    shared = shared_by(batch.context, sender.limits) if batch.context else None
    sender = sender._replace(shared=shared, is_clean=sender.is_clean and not found.is_made)
    messages: Sequence[Message | msgspec.Raw] = batch.batch or ()
    for index, each in enumerate(messages):
        message = each if isinstance(each, Message) else parse(index, each, sender)
        if isinstance(message, Refusal):
            items.append(message)
        else:
            items.append(event_of(index, message, "" if message.type else kind, sender))
    return items


def key_of(found: Opened) -> str:
    """Return the write key that the messages of a batch have in common; "" if there is none, or several."""
    keys = {each.writeKey for each in found.envelope.batch or () if isinstance(each, Message) and each.writeKey}
    return keys.pop() if len(keys) == 1 else ""


def _made(batch: list[Any] | None, around: Mapping[str, Any]) -> Envelope:
    raws = None if batch is None else [msgspec.Raw(json.dumps(each, ensure_ascii=False).encode()) for each in batch]
    return Envelope(raws, values.obj(around.get("context")), around.get("sentAt"), around.get("writeKey"))


def _without_commas(found: re.Match[str]) -> str:
    return found[0] if found[0][0] == '"' else found[0].rstrip(", \t\r\n")


def _whole(body: bytes) -> dict[str, Any] | None:
    """Return the batch of a body that is no JSON because its app wrote zeros or nothing where a message was to be, or
    several batches one behind the other: their messages, each with the time of its own batch. None of any other."""
    content = body.decode("utf-8", "replace").replace("\0", "")
    content = _TEXT_OR_COMMA.sub(_without_commas, content).strip()
    found: list[dict[str, Any]] = []
    try:
        while content:
            each, end = _json.raw_decode(content)
            found.append(values.valid(each))
            content = content[end:].lstrip(" \t\r\n,")
            if content and len(found) == _MOST_BATCHES:
                return None
        messages = [
            {"sentAt": batch.get("sentAt"), **message} for batch in found for message in batch["batch"] if message
        ]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return None
    return {**found[0], "sentAt": None, "batch": messages} if messages else None
