"""Batches of Segment's clients in all forms that they come in."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest

from activity.compat import segment
from activity.compat.protocol import Tracked, TrackerBatch, TrackerRequest
from activity.incoming import DEFAULT_LIMITS
from activity.refusal import Reason, Refusal


def read(body: bytes, path: str = "/v1/batch", headers: dict[bytes, bytes] | None = None) -> TrackerBatch:
    batch = segment.read(TrackerRequest("POST", path, "", headers or {}, body), DEFAULT_LIMITS)
    assert isinstance(batch, TrackerBatch)
    return batch


def message(kind: str = "track", **more: object) -> dict[str, object]:
    return {"type": kind, "event": "Signed Up", "anonymousId": "a", **more}


def test_a_batch_that_its_app_has_written_with_holes_is_read() -> None:
    one, other = (json.dumps(message(event=name, messageId=name)) for name in ("a,]", '\\"b'))
    rest = '"sentAt": "2026-11-28T09:00:01Z", "writeKey": "k"}'
    later = f'{{"batch": [{other}], "sentAt": "2026-11-28T09:00:02Z"}}'
    for body, names in (
        (f'{{"batch": [{one},\n' + "\0" * 50 + f",\n{other},\n], {rest}", ["a,]", '\\"b']),
        (f'{{"batch": [ ,, {one}, , {other}], {rest}', ["a,]", '\\"b']),
        (f'{{"batch": [{one}], {rest}\n{later}', ["a,]", '\\"b']),
    ):
        batch = read(body.encode())
        assert ([item.name for item in batch.items], batch.credential) == (names, "k")
        assert batch.items[0].sent_at == 1_795_856_401_000
    assert batch.items[1].sent_at == 1_795_856_402_000
    for broken in (f'{{"batch": [,,], {rest}', f', {one}], {rest}', f'{{"batch": [{one}',
                   f'{{"batch": [{one}, 5], {rest}x', "[" * 100_000,
                   '{"batch": [' + '{"a":' * 100_000, '"' + '\\"' * 100_000, "[ ," * 100_000,
                   later * 101, f"{one}\n{other}"):  # fmt: skip
        (refused,) = read(broken.encode()).items
        assert refused.reason is Reason.MALFORMED


def test_batches_one_behind_the_other_keep_their_own_context_and_have_one_key() -> None:
    def batch(name: str, **more: object) -> str:
        url = f"https://example.com/{name}"
        context = {"page": {"url": url}, "ip": "203.0.113.9", "locale": "de" if name == "a" else None}
        own = message(event="own", context={"page": {"url": "/own"}})
        return json.dumps({"batch": [message(event=name), own], "context": context, **more})

    first, last = batch("a", writeKey="k"), batch("b")
    found = read(f"{first}\n{last}".encode())
    assert found.credential == "k"
    items = [item for item in found.items if isinstance(item, Tracked)]
    assert [(item.name, item.url, item.address, item.language) for item in items] == [
        ("a", "https://example.com/a", "203.0.113.9", "de"), ("own", "/own", "203.0.113.9", "de"),
        ("b", "https://example.com/b", "203.0.113.9", ""), ("own", "/own", "203.0.113.9", ""),
    ]  # fmt: skip
    assert read(f"{last}{first}".encode()).credential == "k"
    for other in ("k", " k "):
        assert len(read((first + batch("b", writeKey=other)).encode()).items) == 4
    (refused,) = read((first + batch("b", writeKey="l")).encode()).items
    assert isinstance(refused, Refusal) and refused.reason is Reason.MALFORMED and "writeKey" in refused.detail
    nameless = json.dumps({"batch": [message(), message(event="")]})
    (one, *_, missing) = read(f"{first}{nameless}".encode()).items
    assert isinstance(one, Tracked) and isinstance(missing, Refusal) and missing.index == 3
    (over,) = read((json.dumps({"batch": [message()] * 501}) * 2).encode()).items
    assert isinstance(over, Refusal) and over.reason is Reason.TOO_MANY


def texts(value: object) -> Iterator[str]:
    """All texts in a value, and the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from texts(inner)


# A NUL as it is, as JSON escapes it, and as JSON that a text of JSON holds, where the escape is one of an escape.
NUL = {"raw": "\0", "escaped": "\\u0000"}
FULL = """{"type": "page", "name": "n@m", "userId": "u@v", "anonymousId": "a@b", "messageId": "m@n", "properties": {
    "url": "/p@q", "title": "t@u", "referrer": "https://b.example/@", "k@y": "v@w", "inner": {"x@": "@"}}, "context": {
    "locale": "d@e", "userAgent": "M@z", "ip": "203.0.113.@9", "campaign": {"name": "c@d"}, "page": {"title": "@"}}}"""


@pytest.mark.parametrize("nul", NUL.values(), ids=NUL)
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track", "/api/s/s2s/batch"])
@pytest.mark.parametrize(
    ("form", "is_json"),
    [('{"batch": [%s, %s]}', True), ("[%s, %s]", True), ('{"batch": [%s, %s,, ]}', False),
     ('{"batch": [%s]}\n{"batch": [%s]}', False)],
)  # fmt: skip
def test_no_nul_gets_into_an_event(nul: str, path: str, form: str, is_json: bool) -> None:
    with_nul = FULL.replace("@", nul)
    for body in (form % (with_nul, json.dumps(message())), form % (json.dumps(message()), with_nul)):
        sent = [body]
        if is_json and nul != "\0":  # written twice, and so that the bytes show no NUL either
            twice = json.dumps(body)
            sent += [twice, twice.replace("u0000", "u\\u0030000")]
        for each in sent:
            items = [item for item in read(each.encode(), path).items if isinstance(item, Tracked)]
            assert len(items) == 2
            assert not any("\0" in text for item in items for text in texts(msgspec.to_builtins(item)))
