"""Batches of Segment's clients: as they should be, as lists, written twice, with holes, or several one behind the
other. Nothing here raises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from activity.compat import values
from activity.compat.segment_messages import Message, Sender, event_of, parse, shared_by, time_or_none
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

    envelopes: Sequence[Batch | Envelope]  # several only if they stand one behind the other; all have the same key
    is_made: bool = False  # the messages were written here again: a NUL in one is none that the body shows

    @property
    def events(self) -> int | None:
        """How many messages there are; None in a message that is alone."""
        counts = [len(each.batch) for each in self.envelopes if each.batch is not None]
        return sum(counts) if counts else None


_envelope = msgspec.json.Decoder(Envelope)
_batch = msgspec.json.Decoder(Batch)


def opened(body: bytes, limits: Limits, *, is_small: bool) -> Opened | Refusal:
    """Return the batch of a body, or what can be made of one that does not fit its types.

    `is_small`: none of its messages can be too large, nor has a NUL."""
    try:
        if is_small:
            return Opened([_batch.decode(body)])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return Opened([_envelope.decode(body)])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = values.from_json(body, limits)
    if isinstance(parsed, Refusal):
        return (_mended(body) if parsed.reason is Reason.MALFORMED else None) or parsed
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
    return Opened([_made(batch, parsed)], is_made=True)


def events_of(found: Opened, sender: Sender, kind: str = "") -> list[Incoming | Refusal]:
    """Return the events of what a body holds, each with its refusal if it has to be mended. `kind` is of those that
    name none."""
    items: list[Incoming | Refusal] = []
    for batch in found.envelopes:
        shared = shared_by(batch.context, sender.limits) if batch.context else None
        sender = sender._replace(shared=shared, is_clean=sender.is_clean and not found.is_made)
        messages: Sequence[Message | msgspec.Raw] = batch.batch or ()
        for index, each in enumerate(messages, len(items)):
            message = each if isinstance(each, Message) else parse(index, each, sender)
            if isinstance(message, Refusal):
                items.append(message)
            else:
                items.append(event_of(index, message, "" if message.type else kind, sender))
    return items


def key_of(found: Opened) -> str:
    """Return the write key that the messages of a batch have in common; "" if there is none, or several."""
    messages = [each for batch in found.envelopes for each in batch.batch or () if isinstance(each, Message)]
    keys = {each.writeKey for each in messages if each.writeKey}
    return keys.pop() if len(keys) == 1 else ""


def _made(batch: list[Any] | None, around: Mapping[str, Any]) -> Envelope:
    raws = None if batch is None else [msgspec.Raw(json.dumps(each, ensure_ascii=False).encode()) for each in batch]
    return Envelope(raws, values.obj(around.get("context")), around.get("sentAt"), around.get("writeKey"))


def _without_commas(found: re.Match[str]) -> str:
    return found[0] if found[0][0] == '"' else found[0].rstrip(", \t\r\n")


def _mended(body: bytes) -> Opened | Refusal | None:
    """Return the batch of a body that is no JSON because its app wrote zeros or nothing where a message was to be, or
    several batches one behind the other, each with its own context; their messages have the time of their batch. None
    of any other."""
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
        keys = {text for batch in found if (text := values.text(batch.get("writeKey"), 512).strip())}
        key = keys.pop() if len(keys) == 1 else None
        envelopes = []
        for batch in found:
            sent_at = time_or_none(batch.get("sentAt"))  # of any length, so not as it came
            messages = [{"sentAt": sent_at, **message} for message in batch["batch"] if message]
            envelopes.append(_made(messages, {"context": batch.get("context"), "writeKey": key}))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return None
    if len(keys) > 1:
        detail = "the body has batches of several `writeKey`s: send those of each in a request of their own"
        return Refusal(0, Reason.MALFORMED, detail)
    return Opened(envelopes, is_made=True) if any(batch.batch for batch in envelopes) else None
