"""Our own wire format: the JSON of `POST /collect` and the parameters of `GET /collect.gif`.

A body is decoded in one go into typed structs. If that fails it is taken apart event by event, so that only the
event at fault is refused, in words, and its neighbours are kept. Nothing here knows the site, the visitor or the
time; `enrich` does. Texts come out clean: valid Unicode without NUL and lone surrogates (each is replaced by U+FFFD
or dropped), cut to the lengths of `incoming`.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from activity.incoming import DEFAULT_LIMITS, Batch, Incoming, Limits, Search, has_tidy_props, tidy, time_of
from activity.lenient import described, from_bytes, from_object
from activity.refusal import Reason, Refusal

__all__ = ["DEFAULT_LIMITS", "Batch", "Incoming", "Limits", "Search", "parse", "parse_query", "time_of"]


class _Whole(msgspec.Struct):
    events: list[Incoming]
    sent_at: int | float | str | None = None


class _Parts(msgspec.Struct):
    events: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    sent_at: msgspec.Raw = msgspec.Raw(b"null")


_FORM = re.compile(r"[A-Za-z_]{1,16}=")

_whole = msgspec.json.Decoder(_Whole)
_parts = msgspec.json.Decoder(_Parts)
_single = msgspec.json.Decoder(Incoming)


def parse(body: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Batch:
    """Returns the events of a `POST /collect` body: one event, or `{"sent_at": …, "events": […]}`.

    `body` is already decompressed. Each event has its place in `items`, as itself or as its refusal; a body that
    cannot be read at all gives one refusal with index 0. Never raises.
    """
    if len(body) > limits.body_bytes:
        return _refused(
            Reason.TOO_LARGE,
            f"the body has {len(body)} bytes and may have {limits.body_bytes}: send fewer events a request",
        )
    if b"\\" in body and b"\\u0000" in body:
        return _taken_apart(body, limits)
    try:
        if b'"events"' not in body and b'"sent_at"' not in body:
            return Batch(None, _with_tidy_props([_single.decode(body)], limits))
        whole = _whole.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _taken_apart(body, limits)
    if len(whole.events) > limits.events:
        return _too_many(len(whole.events), limits)
    return _batch(whole.sent_at, _with_tidy_props(whole.events, limits))


def parse_query(query: str, *, page: str = "", limits: Limits = DEFAULT_LIMITS) -> Batch:
    """Returns the one event of `GET /collect.gif?…`, or its refusal.

    The parameters have the names of the JSON fields; `term` and `results` make a search, and `props` is JSON text.
    `type` defaults to a page view and `url` to `page`, the request's `Referer`. Never raises.
    """
    try:
        given = parse_qsl(query[: limits.body_bytes], errors="replace", max_num_fields=200)
    except ValueError:
        return _refused(Reason.TOO_MANY, "the address has more than 200 parameters: leave some out")
    fields: dict[str, Any] = {"type": "pageview", "url": page}
    fields.update((name, value) for name, value in given if value)
    if not fields["url"]:
        del fields["url"]
    if "term" in fields:
        results = str(fields.pop("results", ""))
        fields["search"] = {"term": fields.pop("term"), "results": int(results) if _is_number(results) else None}
    for name in ("ts", "sent_at", "engaged_ms"):
        if _is_number(fields.get(name, "")):
            fields[name] = int(fields[name])
    if "props" in fields:
        try:
            fields["props"] = json.loads(fields["props"])
        except (ValueError, RecursionError):
            return _refused(Reason.MALFORMED, '`props` is not JSON: send an object such as {"plan":"pro"}')
    return _batch(fields.pop("sent_at", None), [from_object(0, fields, limits)])


def _with_tidy_props(events: list[Incoming], limits: Limits) -> list[Incoming | Refusal]:
    """All else of events that were decoded as `Incoming` from a body without NUL is in order already."""
    items: list[Incoming | Refusal] = [*events]
    for index, event in enumerate(events):
        if event.props and not has_tidy_props(event, limits):
            items[index] = tidy(index, event, limits)
    return items


def _refused(reason: Reason, detail: str) -> Batch:
    return Batch(None, [Refusal(0, reason, detail)])


def _too_many(count: int, limits: Limits) -> Batch:
    return _refused(
        Reason.TOO_MANY,
        f"{count} events in one request and at most {limits.events} are taken: send them in several requests",
    )


def _batch(sent_at: object, items: list[Incoming | Refusal]) -> Batch:
    if sent_at is None or sent_at == "":
        return Batch(None, items)
    try:
        return Batch(time_of(sent_at), items)
    except ValueError as error:
        return _refused(Reason.INVALID_TIME, f"`sent_at` {error}")


def _taken_apart(body: bytes, limits: Limits) -> Batch:
    """The slow way, for a body with something wrong in it, or a single event that holds one of the batch's names."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff")
    if text.endswith("\0"):  # as a text ends in C
        text = text.rstrip("\0")
        body = text.encode()
    if not text.isascii():
        body = text.encode()
    try:
        parts = _parts.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _whole_by_hand(text, limits)
    if parts.events is msgspec.UNSET:
        return _batch(_raw(parts.sent_at), [from_bytes(0, body, limits)])
    if len(parts.events) > limits.events:
        return _too_many(len(parts.events), limits)
    return _batch(_raw(parts.sent_at), [from_bytes(i, bytes(event), limits) for i, event in enumerate(parts.events)])


def _whole_by_hand(text: str, limits: Limits) -> Batch:
    """Reads the body with the standard library, which accepts lone surrogates; what it cannot read is not JSON."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        whole = _lines(text)
        if whole is None:
            return _form(text, limits) or _refused(
                Reason.MALFORMED,
                f"the body is not JSON ({error}): send one event, or {{\"events\": […]}}" if text.strip()
                else "the body is empty: send one event as JSON, or {\"events\": […]}",
            )  # fmt: skip
    if isinstance(whole, str) and whole.startswith(("{", "[")):  # written as JSON twice
        with suppress(ValueError, RecursionError):
            whole = json.loads(whole)
    if isinstance(whole, list) and any(isinstance(event, dict) for event in whole):
        whole = {"events": whole}
    if not isinstance(whole, dict):
        return _refused(
            Reason.MALFORMED,
            f'the body is {described(type(whole).__name__)}, not an object: send one event, or {{"events": […]}}',
        )
    if "events" not in whole:
        return _batch(whole.get("sent_at"), [from_object(0, whole, limits)])
    events = _events(whole["events"])
    if not isinstance(events, list):
        return _refused(Reason.UNKNOWN_FIELD_TYPE, "`events` must be a list of events")
    if len(events) > limits.events:
        return _too_many(len(events), limits)
    return _batch(whole.get("sent_at"), [from_object(i, event, limits) for i, event in enumerate(events)])


def _events(given: Any) -> Any:
    """The list of events that is meant: one event, or a list in which PHP left numbers out, and so made an object."""
    if isinstance(given, dict) and "type" in given:
        return [given]
    if isinstance(given, dict) and given and all(name.isdigit() for name in given):
        return list(given.values())
    return given


def _lines(text: str) -> list[object] | None:
    """The events of a body that has one a line; None of any other body."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
        return None
    try:
        return [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return None


def _form(text: str, limits: Limits) -> Batch | None:
    """The events of a form's body: one by its fields, or JSON in the only field of all; None of any other body."""
    text = text.strip()
    if not _FORM.match(text) or "\n" in text:
        return None
    value = text.partition("=")[2]
    if "&" not in value and (value.startswith("{") or value[:3].upper() == "%7B"):
        return parse(unquote_plus(value).encode("utf-8", "replace"), limits=limits)
    return parse_query(text, limits=limits)


def _raw(value: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "NaN"  # or what else is no JSON: `time_of` refuses it


def _is_number(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19
