"""One visit as each tracker's clients send it: what `test_same_visit` compares, request by request.

A visitor comes from a newsletter's link to the home page, searches for shoes, signs up, looks at the prices, and says
who he is, ten seconds apart. Each request is sent at the moment of what it tells, by a browser.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from ingest.http import Request
from tests.ingest.conftest import AGENT
from tests.trackers.conftest import IDS

AT = 1_760_000_000_000
STEP = 10_000
HOME = "https://example.com/?utm_source=newsletter&utm_campaign=spring"
FOUND = "https://example.com/find?q=shoes"
PRICES = "https://example.com/pricing"
REFERRER = "https://mail.example.org/"
VISITOR, USER = "0b1c2d3e4f5a6b7c", "u-1"
UUID = "00000000-0000-4000-8000-00000000000{}"


class Sent(NamedTuple):
    """One request, and when it was received."""

    request: Request
    at: int


def _request(
    path: str, body: Any = None, query: dict[str, Any] | None = None, method: str = "", **headers: str
) -> Request:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"user-agent": AGENT, "accept-language": "de-DE", "origin": "https://example.com"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        method or ("GET" if body is None else "POST"),
        path,
        urlencode(query or {}).encode(),
        [(name.encode(), value.encode()) for name, value in fields.items()],
        content,
        "198.51.100.7",
    )


def _iso(at: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _each(*requests: Callable[[int, int], Request | None]) -> list[Sent]:
    """The requests by the number and time of their step; None where a protocol has none for it."""
    made = [(make(number, AT + number * STEP), AT + number * STEP) for number, make in enumerate(requests)]
    return [Sent(request, at) for request, at in made if request is not None]


def footfall() -> list[Sent]:
    """Our own clients."""

    def event(**fields: Any) -> Callable[[int, int], Request]:
        whole = {"site": "example.com", "language": "de-DE", **fields}
        return lambda _, at: _request("/collect", {**whole, "ts": at})

    return _each(
        event(type="pageview", url=HOME, referrer=REFERRER, title="Home"),
        event(type="pageview", url=FOUND, title="Found"),
        event(type="custom", url=FOUND, name="signup", props={"plan": "pro"}),
        event(type="pageview", url=PRICES, title="Prices"),
        event(type="identify", url=PRICES, user=USER),
    )


def segment() -> list[Sent]:
    """analytics.js, and those of RudderStack and Jitsu that follow it."""

    def call(kind: str, url: str, title: str, **fields: Any) -> Callable[[int, int], Request]:
        page = {"url": url, "title": title, "path": "/" + url.split("/", 3)[3].split("?")[0]}
        page |= {"referrer": REFERRER} if url == HOME else {}
        return lambda number, at: _request(
            f"/v1/{kind[0]}",
            {
                "type": kind, "messageId": f"ajs-{number}", "anonymousId": VISITOR, "writeKey": IDS["segment"],
                "timestamp": _iso(at), "sentAt": _iso(at),
                "context": {"page": page, "locale": "de-DE", "library": {"name": "analytics.js"}}, **fields,
            },
        )  # fmt: skip

    return _each(
        call("page", HOME, "Home", properties={}),
        call("page", FOUND, "Found", properties={}),
        call("track", FOUND, "Found", event="signup", properties={"plan": "pro"}),
        call("page", PRICES, "Prices", properties={}),
        call("identify", PRICES, "Prices", userId=USER, traits={}),
    )


def plausible() -> list[Sent]:
    """Plausible's script, which has no identify."""

    def event(name: str, url: str, **fields: Any) -> Callable[[int, int], Request]:
        body = {"n": name, "u": url, "d": "example.com", "r": REFERRER if url == HOME else None, **fields}
        return lambda *_: _request("/api/event", body, content_type="text/plain")

    return _each(
        event("pageview", HOME), event("pageview", FOUND), event("signup", FOUND, p={"plan": "pro"}),
        event("pageview", PRICES),
    )  # fmt: skip


def umami() -> list[Sent]:
    """Umami's script."""

    def send(kind: str, url: str, title: str, **fields: Any) -> Callable[[int, int], Request]:
        payload = {
            "website": IDS["umami"], "hostname": "example.com", "url": url.removeprefix("https://example.com"),
            "title": title, "language": "de-DE", "screen": "1280x720", "referrer": REFERRER if url == HOME else "",
            **fields,
        }  # fmt: skip
        return lambda *_: _request("/api/send", {"type": kind, "payload": payload})

    return _each(
        send("event", HOME, "Home"), send("event", FOUND, "Found"),
        send("event", FOUND, "Found", name="signup", data={"plan": "pro"}),
        send("event", PRICES, "Prices"), send("identify", PRICES, "Prices", id=USER, data={}),
    )  # fmt: skip


def ga4() -> list[Sent]:
    """gtag.js."""

    def hit(name: str, url: str, title: str, **fields: Any) -> Callable[[int, int], Request]:
        query = {
            "v": 2, "tid": IDS["ga4"], "cid": VISITOR, "en": name, "dl": url, "dt": title, "ul": "de-de",
            **({"dr": REFERRER} if url == HOME else {}), **fields,
        }  # fmt: skip
        return lambda *_: _request("/g/collect", b"", query, method="POST")

    return _each(
        hit("page_view", HOME, "Home"), hit("page_view", FOUND, "Found"),
        hit("signup", FOUND, "Found", **{"ep.plan": "pro"}), hit("page_view", PRICES, "Prices", uid=USER),
    )  # fmt: skip


def snowplow() -> list[Sent]:
    """Snowplow's browser tracker."""

    def event(kind: str, url: str, title: str, **fields: Any) -> Callable[[int, int], Request]:
        def make(number: int, at: int) -> Request:
            data = {
                "e": kind, "url": url, "page": title, "eid": UUID.format(number), "aid": IDS["snowplow"], "p": "web",
                "tv": "js-4", "dtm": str(at), "stm": str(at), "duid": VISITOR, "lang": "de-DE", "res": "1280x720",
                **({"refr": REFERRER} if url == HOME else {}), **fields,
            }  # fmt: skip
            schema = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
            return _request("/com.snowplowanalytics.snowplow/tp2", {"schema": schema, "data": [data]})

        return make

    signup = {
        "schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0",
        "data": {"schema": "iglu:com.example/signup/jsonschema/1-0-0", "data": {"plan": "pro"}},
    }
    packed = base64.urlsafe_b64encode(json.dumps(signup).encode()).decode().rstrip("=")
    return _each(
        event("pv", HOME, "Home"), event("pv", FOUND, "Found"), event("ue", FOUND, "Found", ue_px=packed),
        event("pv", PRICES, "Prices", uid=USER),
    )  # fmt: skip


def posthog() -> list[Sent]:
    """posthog-js."""

    def event(name: str, url: str, title: str, **properties: Any) -> Callable[[int, int], Request]:
        def make(number: int, at: int) -> Request:
            whole = {
                "token": IDS["posthog"], "distinct_id": VISITOR, "$device_id": VISITOR, "$current_url": url,
                "title": title, "$browser_language": "de-DE", **({"$referrer": REFERRER} if url == HOME else {}),
                **properties,
            }  # fmt: skip
            body = [{"uuid": UUID.format(number), "event": name, "properties": whole, "timestamp": _iso(at)}]
            return _request("/e/", body, content_type="text/plain")

        return make

    return _each(
        event("$pageview", HOME, "Home"), event("$pageview", FOUND, "Found"),
        event("signup", FOUND, "Found", plan="pro"), event("$pageview", PRICES, "Prices"),
        event("$identify", PRICES, "Prices", distinct_id=USER, **{"$anon_distinct_id": VISITOR}),
    )  # fmt: skip


def matomo() -> list[Sent]:
    """matomo.js."""

    def hit(url: str, title: str, **fields: Any) -> Callable[[int, int], Request]:
        query = {
            "idsite": IDS["matomo"], "rec": 1, "url": url, "action_name": title, "_id": VISITOR, "lang": "de-DE",
            "res": "1280x720", **({"urlref": REFERRER} if url == HOME else {}), **fields,
        }  # fmt: skip
        return lambda number, _: _request("/matomo.php", b"", {**query, "rand": number}, method="POST")

    return _each(
        hit(HOME, "Home"), hit(FOUND, "Found"),
        hit(FOUND, "Found", e_c="signup", e_a="signup", e_n="pro"), hit(PRICES, "Prices", uid=USER),
    )  # fmt: skip


def openpanel() -> list[Sent]:
    """OpenPanel's web client."""

    def track(kind: str, payload: dict[str, Any]) -> Callable[[int, int], Request]:
        client = {"openpanel-client-id": IDS["openpanel"]}
        return lambda *_: _request("/track", {"type": kind, "payload": payload}, **client)

    def view(url: str, title: str, name: str = "screen_view", **more: Any) -> Callable[[int, int], Request]:
        properties = {"__path": url, "__title": title, "__referrer": REFERRER if url == HOME else "", **more}
        return track("track", {"name": name, "properties": properties})

    return _each(
        view(HOME, "Home"), view(FOUND, "Found"), view(FOUND, "Found", "signup", plan="pro"), view(PRICES, "Prices"),
        track("identify", {"profileId": USER, "properties": {"__path": PRICES}}),
    )  # fmt: skip


def goatcounter() -> list[Sent]:
    """count.js, which has no properties and no identify."""

    def count(url: str, title: str, **fields: Any) -> Callable[[int, int], Request]:
        path, _, query = url.removeprefix("https://example.com").partition("?")
        given = {"p": path, "t": title, "q": f"?{query}" if query else "", "r": REFERRER if url == HOME else ""}
        fields = {"s": "1280,720,1", **given, **fields}
        return lambda number, _: _request(
            "/count", None, {**fields, "rnd": number}, host="shop-code.stats.example", referer="https://example.com/"
        )

    return _each(count(HOME, "Home"), count(FOUND, "Found"), count("signup", "", e="true"), count(PRICES, "Prices"))


VISITS: dict[str, Callable[[], list[Sent]]] = {
    each.__name__: each
    for each in (footfall, segment, plausible, umami, ga4, snowplow, posthog, matomo, openpanel, goatcounter)
}

_COOKIELESS = {"user": "it has no users", "ended_at": "it has no identify", "events": "it has no identify"}
_USER_IN_EVENTS = {
    "ended_at": "the user stands in the events themselves, and no event says only that",
    "events": "the user stands in the events themselves, and no event says only that",
}
_NO_LANGUAGE = {"language": "its clients do not send the browser's language"}

# By protocol, the columns of the session in which its own differs from ours, and why.
DIFFERS: dict[str, dict[str, str]] = {
    "plausible": {**_COOKIELESS, **_NO_LANGUAGE},
    "ga4": _USER_IN_EVENTS,
    "snowplow": _USER_IN_EVENTS,
    "matomo": _USER_IN_EVENTS,
    "openpanel": _NO_LANGUAGE,
    "goatcounter": {**_COOKIELESS, **_NO_LANGUAGE},
}
