"""An event's bytes: what is published, and what everything downstream reads back.

On the wire an event is one JSON object without the fields that have their default, so any consumer can read it and a
replay needs nothing but the topic. msgspec decodes single events and is the authority on what is well formed. A batch
is read straight into columns (`activity.columns`), because building one object per event would cost more than
everything after it. Only that module imports Polars: the tracking service encodes and never decodes.
"""

from __future__ import annotations

import msgspec

from activity.event import Event

_HEX = frozenset("0123456789abcdef")
_INT64 = range(-(2**63), 2**63)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


class Undecodable(ValueError):
    """These bytes are not an event; `reason` says what is wrong with them, in words for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode(event: Event) -> bytes:
    """Returns the event as one line of UTF-8 JSON without a newline, less the fields that have their default.

    Raises UnicodeEncodeError if a text holds a lone surrogate; `beacon` and `enrich` let none through.
    """
    return _encoder.encode(event)


def decode(value: bytes) -> Event:
    """Returns the event that `encode` turned into these bytes.

    Unknown fields are ignored, so that an older reader copes with a newer writer of the same schema version.

    Raises `Undecodable` for anything that is not an event of schema version 1.
    """
    try:
        event = _decoder.decode(value)
    except msgspec.ValidationError as error:
        raise Undecodable(f"not an event of schema version 1: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(f"not JSON: {error}") from None
    if len(event.id) != 32 or not _HEX.issuperset(event.id):
        raise Undecodable("`id` is not 32 lowercase hex digits")
    if len(event.visitor) != 16 or not _HEX.issuperset(event.visitor):
        raise Undecodable("`visitor` is not 16 lowercase hex digits")
    for name in ("occurred_at", "received_at", "sent_at", "results", "engaged_ms"):
        number = getattr(event, name)
        if number is not None and number not in _INT64:
            raise Undecodable(f"`{name}` does not fit into 64 bits")
    return event
