"""What clients of many languages, ages and habits send, and the event that is meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat import forms, ga4, goatcounter, matomo, openpanel, plausible, posthog, segment, snowplow, umami
from activity.compat.protocol import Protocol, Tracked
from activity.event import EventType
from activity.incoming import DEFAULT_LIMITS, Revenue, Search, time_of
from activity.refusal import Refusal
from tests.compat import reading
from tests.compat.reading import Sent

AT = 1_795_896_302_000
DAY = datetime.fromtimestamp(AT / 1_000, UTC)


def track(**more: Any) -> Sent:
    return Sent("/v1/track", {"event": "e", "anonymousId": "a", **more})


def ordered(event: str, **props: Any) -> Sent:
    return track(event=event, properties=props)


def plausibly(**more: Any) -> Sent:
    return Sent("/api/event", {"n": "goal", "u": "https://example.com/a", "d": "example.com", **more})


def umamis(path: str = "/api/send", kind: str | None = "event", **more: Any) -> Sent:
    payload = {"website": "w", "hostname": "example.com", "url": "/a", **more}
    return Sent(path, {"type": kind, "payload": payload})


def panels(**payload: Any) -> Sent:
    return Sent("/track", {"type": "track", "payload": {"name": "e"} | payload})


def screens(**props: Any) -> Sent:
    return panels(name="screen_view", properties={"__path": "/home", **props})


def hits(**hit: Any) -> Sent:
    return Sent("/api/v0/count", {"hits": [hit]})


def posthogs(**more: Any) -> Sent:
    return Sent("/e", {"api_key": "k", "event": "e", "distinct_id": "d", **more})


def matomos(query: str = "", body: bytes = b"", path: str = "/matomo.php") -> Sent:
    return Sent(path, body, {}, query, "POST" if body else "GET")


def parts(**fields: str) -> bytes:
    """A form in several parts."""
    lines = [f'--b7\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{fields[name]}\r\n' for name in fields]
    return "".join([*lines, "--b7--\r\n"]).encode()


ONE = json.dumps({"api_key": "k", "event": "e", "distinct_id": "d", "properties": {"plan": "pro"}})
FILE = f'--b\nContent-Disposition: form-data; name="data"; filename="a"\nContent-Type: a/b\n\n{ONE}\n--b--'.encode()
TP2 = "/com.snowplowanalytics.snowplow/tp2"
PRO: dict[str, Any] = {"name": "e", "props": {"plan": "pro"}}
IGLU = "iglu:com.snowplowanalytics"


def snowplows(**more: Any) -> Sent:
    keys = {"e": "pv", "aid": "app", "url": "https://example.com/a", "page": "A", **more}
    return Sent(TP2, {"data": [{key: value for key, value in keys.items() if value is not None}]})


def described(schema: str, **data: object) -> Sent:
    """A self-describing event of an app."""
    inside = {"schema": f"{schema}/jsonschema/1-0-0", "data": data}
    return snowplows(e="ue", url=None, page=None, ue_pr=json.dumps({"schema": "…", "data": inside}))


def beside(entities: object) -> Sent:
    return snowplows(co=json.dumps(entities))


CART: dict[str, Any] = {"schema": "iglu:com.acme/cart/jsonschema/1-0-0", "data": {"n": 1}}
CART_KEPT = {"props": {"context.cart": '{"n":1}'}}
LATE = [{"schema": f"{IGLU}.{name}/jsonschema/1-0-0", "data": {"a": 1}} for name in (
    "mobile/application", "mobile/application_lifecycle", "snowplow/desktop_context")]  # fmt: skip
SNOWPLOWS: dict[str, tuple[Protocol, Sent, dict[str, Any]]] = {
    "screen by its id": (snowplow.PROTOCOL, described(f"{IGLU}.snowplow/screen_view", id="cart"),
                         {"type": EventType.PAGEVIEW, "url": "/cart", "title": "cart", "props": {}}),
    "screen by its name": (snowplow.PROTOCOL, described(f"{IGLU}.mobile/screen_view", id="cart", name="Home"),
                           {"url": "/Home", "props": {"id": "cart"}}),
    **{name: (snowplow.PROTOCOL, described(f"{IGLU}.snowplow/{name}", a=1), {"name": name, "interactive": False})
       for name in ("cmp_visible", "create_element", "expose_element", "obscure_element", "destroy_element")},
    **{name: (snowplow.PROTOCOL, described(f"{IGLU}.snowplow.media/{name}", a=1), {"interactive": False})
       for name in ("ad_start_event", "ad_quartile_event", "ad_break_end_event")},
    "of a site": (snowplow.PROTOCOL, described("iglu:com.acme/cmp_visible"), {"interactive": True}),
    "clicked": (snowplow.PROTOCOL, described(f"{IGLU}.snowplow/button_click", label="Buy"), {"interactive": True}),
    "an old schema": (snowplow.PROTOCOL, described("http://iglucentral.com/schemas/com.acme/x", a=1), {"name": "x"}),
    "without envelope": (snowplow.PROTOCOL, snowplows(e="ue", ue_pr=json.dumps(CART)),
                         {"name": "cart", "props": {"n": 1, "schema": CART["schema"]}}),
    "an entity alone": (snowplow.PROTOCOL, beside({"schema": "…", "data": CART}), CART_KEPT),
    "entities without envelope": (snowplow.PROTOCOL, beside([CART]), CART_KEPT),
    "an entity without envelope": (snowplow.PROTOCOL, beside(CART), CART_KEPT),
    "entities as an object": (snowplow.PROTOCOL, snowplows(co={"schema": "…", "data": [CART]}), CART_KEPT),
    "entities of a tracker": (snowplow.PROTOCOL, beside(LATE), {"props": {}}),
    "an entity of that name": (snowplow.PROTOCOL, beside([CART | {"schema": "iglu:com.acme/application/jsonschema/1"}]),
                               {"props": {"context.application": '{"n":1}'}}),
    "a comma": (snowplow.PROTOCOL, snowplows(e="se", se_ca="c", se_va="12,5"),
                {"props": {"category": "c", "value": 12.5}}),
    "thousands or not": (snowplow.PROTOCOL, snowplows(e="se", se_ca="c", se_va="1,234"),
                         {"props": {"category": "c", "value": "1,234"}}),
    "an item's name": (snowplow.PROTOCOL, snowplows(e="ti", ti_na="Hat"), {"props": {"item": "Hat"}}),
    "an item's names": (snowplow.PROTOCOL, snowplows(e="ti", ti_na="Cap", ti_nm="Hat"), {"props": {"item": "Hat"}}),
    "in seconds": (snowplow.PROTOCOL, snowplows(dtm=str(AT // 1_000), stm=str(AT // 1_000 + 5)),
                   {"ts": AT, "sent_at": AT + 5_000}),
}  # fmt: skip
CASES: dict[str, tuple[Protocol, Sent, dict[str, Any]]] = {
    **SNOWPLOWS,
    "cart": (segment.PROTOCOL, ordered("Checkout Started", revenue=25), {"revenue": None, "props": {"revenue": 25}}),
    "changed order": (segment.PROTOCOL, ordered("Order Updated", revenue=25), {"revenue": None}),
    "german amount": (segment.PROTOCOL, ordered("Order Completed", revenue="1.234,50 €"),
                      {"revenue": Revenue("1234.5", "EUR"), "props": {}}),
    "no amount": (segment.PROTOCOL, ordered("Order Completed", revenue="free"),
                  {"revenue": None, "props": {"revenue": "free"}}),
    "written properties": (segment.PROTOCOL, track(properties='{"plan": "pro"}'), PRO),
    "capitals": (segment.PROTOCOL, Sent("/v1/batch", {"batch": [{"type": "Track", "event": "e", "userId": 0}]}),
                 {"name": "e", "user": "0"}),
    "a batch that is one": (segment.PROTOCOL, Sent("/v1/batch", {"batch": track().body | {"type": "track"}}),  # type: ignore[operator]
                            {"name": "e"}),
    "a list": (segment.PROTOCOL, Sent("/v1/track", [track().body]), {"name": "e"}),
    "written twice": (segment.PROTOCOL, Sent("/v1/batch", json.dumps(json.dumps({"batch": [
        {"type": "track", "event": "e", "userId": "u"}]})).encode()), {"name": "e"}),
    "inactive": (segment.PROTOCOL, track(context={"active": "false"}), {"interactive": False}),
    "screen of an app": (segment.PROTOCOL, Sent("/v1/screen", {"event": "Cart", "anonymousId": "a"}), {"url": "/Cart"}),
    "seconds sent": (segment.PROTOCOL, track(timestamp=AT // 1_000, sentAt=AT // 1_000 + 5),
                     {"ts": AT, "sent_at": AT + 5_000}),
    "a line's end in a text": (plausible.PROTOCOL, Sent("/api/event", (
        b'{"n":"e","u":"https://example.com/","p":{"a":"b\nc\td"}}')), {"props": {"a": "b\nc\td"}}),
    "a text of C": (plausible.PROTOCOL, Sent("/api/event", b'{"n":"e","u":"https://example.com/"}\0'), {"name": "e"}),
    "an amount and its sign": (plausible.PROTOCOL, plausibly(revenue="12,50 €"), {"revenue": Revenue("12.5", "EUR")}),
    "no domain": (plausible.PROTOCOL, plausibly(d="undefined"), {"site": "example.com"}),
    "a form": (plausible.PROTOCOL, Sent("/api/event", urlencode(plausibly().body).encode()), {"name": "goal"}),  # type: ignore[arg-type]
    "the site's address": (plausible.PROTOCOL, plausibly(d="https://example.com/"), {"site": "example.com"}),
    "a cloaked link": (plausible.PROTOCOL, plausibly(n="Cloaked Link: Click", p={"url": "https://b.example/"}),
                       {"type": EventType.OUTBOUND, "props": {"url": "https://b.example/"}}),
    "dearer": (plausible.PROTOCOL, plausibly(revenue={"amount": "1,299.00", "currency": "usd"}),
               {"revenue": Revenue("1299", "USD")}),
    "milliseconds": (umami.PROTOCOL, umamis(timestamp=AT), {"ts": AT}),
    "milliseconds as text": (umami.PROTOCOL, umamis(timestamp=str(AT)), {"ts": AT}),
    "host with scheme": (umami.PROTOCOL, umamis(hostname="https://example.com"), {"url": "https://example.com/a"}),
    "without scheme": (umami.PROTOCOL, umamis(url="//example.com/a"), {"url": "https://example.com/a"}),
    "encoded title": (umami.PROTOCOL, umamis(title="Gr%C3%B6%C3%9Fe%20&%20Preis"), {"title": "Größe & Preis"}),
    "title with a percent sign": (umami.PROTOCOL, umamis(title="100% of%20it"), {"title": "100% of%20it"}),
    "title of no UTF-8": (umami.PROTOCOL, umamis(title="caf%E9"), {"title": "caf%E9"}),
    "no page by Umami": (umami.PROTOCOL, umamis(name="e", url="undefined"), {"url": "", "name": "e"}),
    "an empty address": (umami.PROTOCOL, umamis(url=""), {"url": "https://example.com/"}),
    "no address": (umami.PROTOCOL, umamis(name="e", url=None), {"url": ""}),
    "no referrer": (umami.PROTOCOL, umamis(referrer="null"), {"referrer": ""}),
    "host with a slash": (umami.PROTOCOL, umamis(hostname=" example.com/ "), {"url": "https://example.com/a"}),
    "blank name": (umami.PROTOCOL, umamis(name=" "), {"type": EventType.PAGEVIEW}),
    "no type": (umami.PROTOCOL, umamis(kind=None), {"type": EventType.PAGEVIEW}),
    "one to the batch": (umami.PROTOCOL, umamis("/api/batch"), {"type": EventType.PAGEVIEW}),
    "written data": (umami.PROTOCOL, umamis(name="e", data='{"plan":"pro"}'), PRO),
    "several parts": (posthog.PROTOCOL, Sent("/e", parts(data=ONE)), PRO),
    "a file": (posthog.PROTOCOL, Sent("/batch", FILE), PRO),
    "base64 in parts": (posthog.PROTOCOL, Sent("/e", parts(compression="base64", data=(
        "eyJhcGlfa2V5IjoiayIsImV2ZW50IjoiZSIsImRpc3RpbmN0X2lkIjoiZCJ9"))), {"name": "e"}),
    "fields in parts": (posthog.PROTOCOL, Sent("/e", parts(api_key="k", event="e", distinct_id="d")), {"name": "e"}),
    "fields of a form": (posthog.PROTOCOL, Sent("/e", urlencode({"event": "e", "distinct_id": "d", "properties": (
        '{"plan":"pro"}')}).encode()), PRO),
    "a written batch": (posthog.PROTOCOL, Sent("/batch", {"batch": "[" + ONE + "]"}), PRO),
    "an id of Ruby": (posthog.PROTOCOL, posthogs(messageId="m-1"), {"id": "m-1"}),
    "visitor 0": (posthog.PROTOCOL, posthogs(distinct_id=0), {"client": "0"}),
    "nobody's id": (posthog.PROTOCOL, posthogs(distinct_id="$posthog_cookieless"), {"client": "", "user": ""}),
    "how long ago": (posthog.PROTOCOL, posthogs(offset="60000"), {"ts": None, "ago_ms": 60_000}),
    "host and path": (posthog.PROTOCOL, posthogs(properties={"$host": "b.example.com", "$pathname": "/p"}),
                      {"url": "https://b.example.com/p"}),
    "matomo in parts": (matomo.PROTOCOL, matomos(body=parts(rec="1", url="https://example.com/a", action_name="Größe")),
                        {"title": "Größe", "url": "https://example.com/a"}),
    "latin": (matomo.PROTOCOL, matomos("rec=1&url=/a&search=caf%E9"), {"search": Search("café")}),
    "raw latin": (matomo.PROTOCOL, matomos(body="rec=1&url=/a&action_name=Größe".encode("latin-1")),
                  {"title": "Größe"}),
    "cyrillic": (matomo.PROTOCOL, matomos("rec=1&url=/a&action_name=%CF%F0%E8%E2%E5%F2&cs=windows-1251"),
                 {"title": "Привет"}),
    "escaped for HTML": (matomo.PROTOCOL, matomos("idsite=7&amp;rec=1&amp;url=/a"), {"site": "7", "url": "/a"}),
    "below a folder": (matomo.PROTOCOL, matomos("rec=1&url=/a", path="/piwik/matomo.php"), {"url": "/a"}),
    "list of requests": (matomo.PROTOCOL, matomos(body=b'["?rec=1&url=/a"]'), {"url": "/a"}),
    "count in the address": (matomo.PROTOCOL, matomos("rec=1&url=/s%3Fq%3Dhat%26search_count%3D0"),
                             {"type": EventType.PAGEVIEW, "search": Search("", 0)}),
    "no count in the address": (matomo.PROTOCOL, matomos("rec=1&url=/s%3Fq%3Dhat%26search_count%3D"), {"search": None}),
    "a blank action": (matomo.PROTOCOL, matomos("rec=1&url=/a&e_c=video&e_a=+"), {"name": "video"}),
    "a blank event": (matomo.PROTOCOL, matomos("rec=1&url=/a&e_c=+&e_a=+"), {"type": EventType.PAGEVIEW}),
    "a query as a body": (matomo.PROTOCOL, matomos(body=b"?idsite=7&rec=+1&url=/a"), {"site": "7", "url": "/a"}),
    "a blank request": (matomo.PROTOCOL, matomos(body=b'{"requests":["","?rec=1&url=/a"]}'), {"url": "/a"}),
    "yes as JSON has it": (matomo.PROTOCOL, matomos(body=b'[{"rec":true,"url":"/a","ping":true}]'),
                           {"type": EventType.ENGAGEMENT}),
    "a plug-in's yes": (matomo.PROTOCOL, matomos(body=b'[{"rec":1,"url":"/a","ca":true}]'), {"name": "custom_action"}),
    "no ping": (matomo.PROTOCOL, matomos("rec=1&url=/a&ping=0"), {"type": EventType.PAGEVIEW}),
    "no title": (matomo.PROTOCOL, matomos("rec=1&url=/a&action_name=undefined"), {"title": ""}),
    "lines in requests": (matomo.PROTOCOL, matomos(body=b'{"requests":["?rec=1&url=/a&search=A\n"]}'), {"url": "/a"}),
    "marked": (matomo.PROTOCOL, matomos(body=b'\xef\xbb\xbf{"requests":["?rec=1&url=/a"]}'), {"url": "/a"}),
    "requests in a form": (matomo.PROTOCOL, matomos(body=urlencode({"requests": '["rec=1&url=/a"]'}).encode()),
                           {"url": "/a"}),
    "matomo's milliseconds": (matomo.PROTOCOL, matomos(f"rec=1&url=/a&cdt={AT}&cdo=60"), {"ts": AT - 60_000}),
    "euros": (matomo.PROTOCOL, matomos("rec=1&url=/a&idgoal=1&revenue=%E2%82%AC+99,95"),
              {"revenue": Revenue("99.95", "EUR")}),
    "an image in a mail": (snowplow.PROTOCOL, Sent("/i", b"", {}, "e=pv&page=A+b", "GET"), {"url": "/A%20b"}),
    "an image in a page": (snowplow.PROTOCOL, Sent("/i", b"", {"referer": "https://example.com/a"}, "e=pv", "GET"),
                           {"url": "https://example.com/a"}),
    "a title and nothing else": (segment.PROTOCOL, Sent("/v1/page", {"userId": "u", "properties": {"title": "A b"}}),
                                 {"url": "/A%20b", "title": "A b"}),
    "a title of Google's": (ga4.PROTOCOL, Sent("/mp/collect", {"client_id": "c", "events": [
        {"name": "page_view", "params": {"page_title": "A b"}}]}), {"url": "/A%20b"}),
    "seconds of Google's": (ga4.PROTOCOL, Sent("/mp/collect", {"client_id": "c", "timestamp_micros": AT // 1_000,
                                                               "events": [{"name": "e"}]}), {"ts": AT}),
    "parameters as a list": (ga4.PROTOCOL, Sent("/mp/collect", {"client_id": "c", "events": [
        {"name": "e", "params": [{"key": "plan", "value": "pro"}, {"user_data": 1}]}]}), PRO),
    "who is told to ad networks": (ga4.PROTOCOL, Sent("/mp/collect", {"client_id": "c", "events": [
        {"name": "e", "params": {"plan": "pro", "user_data": {"email": "ann@b.example"}}}]}), PRO),
    "an amount that is an object": (segment.PROTOCOL, ordered("Order Completed", revenue={
        "amount": "5,50", "currency": "EUR"}), {"revenue": Revenue("5.5", "EUR")}),
    "items in texts": (umami.PROTOCOL, umamis(name="buy", data={"commerce": {
        "orderId": "o", "items": [{"price": "10,50", "quantity": "2"}]}}), {"revenue": Revenue(21.0)}),
    "a chain of addresses": (segment.PROTOCOL, track(context={"ip": "203.0.113.9, 10.0.0.1"}),
                             {"address": "203.0.113.9"}),
    "a chain of Matomo's": (matomo.PROTOCOL, matomos("rec=1&url=/a&cip=203.0.113.9,+10.0.0.1"),
                            {"address": "203.0.113.9"}),
    "capitals of OpenPanel": (openpanel.PROTOCOL, Sent("/track", {"type": "TRACK", "payload": {"name": "e"}}),
                              {"name": "e"}),
    "written twice by OpenPanel": (openpanel.PROTOCOL, Sent("/track", json.dumps(json.dumps({
        "type": "track", "payload": {"name": "e"}})).encode()), {"name": "e"}),
    "properties beside the event": (posthog.PROTOCOL, Sent("/i/v0/ai", parts(**{
        "event": '{"event": "e", "distinct_id": "d"}', "event.properties": '{"plan": "pro"}'})), PRO),
    "nobody": (segment.PROTOCOL, track(userId="undefined", messageId="null"), {"user": "", "id": None, "client": "a"}),
    "a user that is none": (matomo.PROTOCOL, matomos("rec=1&url=/a&uid=undefined"), {"user": "", "client": ""}),
    "a cookie that is none": (matomo.PROTOCOL, matomos("rec=1&url=/a&_id=undefined&cid=null"), {"client": ""}),
    "a cookie beside none": (matomo.PROTOCOL, matomos("rec=1&url=/a&cid=null&_id=ab12&uid=NaN"),
                             {"client": "ab12", "user": ""}),
    "a cookie of zeros": (matomo.PROTOCOL, matomos("rec=1&url=/a&_id=0000000000000000"), {"client": ""}),
    "nobody by Umami": (umami.PROTOCOL, umamis(id="undefined"), {"user": "", "client": ""}),
    "None of Python": (umami.PROTOCOL, umamis(id="None"), {"user": "", "client": ""}),
    "(null) of Objective-C": (openpanel.PROTOCOL, panels(profileId="(null)"), {"user": "", "client": ""}),
    "no device": (openpanel.PROTOCOL, panels(properties={"__deviceId": "undefined"}), {"client": ""}),
    **{f"{guest!r} of guests": (openpanel.PROTOCOL, panels(profileId=guest), {"user": "", "client": ""})
       for guest in (0, False, True, [], {}, "", None)},
    "user 0 as a text": (openpanel.PROTOCOL, panels(profileId="0"), {"user": "0", "client": "0"}),
    "a user among the properties": (openpanel.PROTOCOL, panels(properties={"profileId": "u", "plan": "pro"}),
                                    {"user": "u", **PRO}),
    "what a store tells an app": (openpanel.PROTOCOL, screens(__referrer="utm_source=ads&utm_medium=cpc"),
                                  {"url": "/home?utm_source=ads&utm_medium=cpc", "referrer": ""}),
    "what it tells encoded": (openpanel.PROTOCOL, screens(__referrer="utm_source%3Dads%26utm_term%3Da"),
                              {"url": "/home?utm_source=ads&utm_term=a", "referrer": ""}),
    "with a click": (openpanel.PROTOCOL, screens(__path="/home?a=1#/b", __referrer="gclid=5&utm_source=ads"),
                     {"url": "/home?a=1&gclid=5&utm_source=ads#/b", "referrer": ""}),
    "a referrer with a campaign": (openpanel.PROTOCOL, screens(__referrer="https://b.example/?utm_source=ads"),
                                   {"url": "/home", "referrer": "https://b.example/?utm_source=ads"}),
    "cents": (openpanel.PROTOCOL, panels(properties={"__revenue": "1999"}), {"revenue": Revenue(19.99), "props": {}}),
    "no cents": (openpanel.PROTOCOL, panels(properties={"__revenue": 19.99}),
                 {"revenue": None, "props": {"__revenue": 19.99}}),
    "whole cents": (openpanel.PROTOCOL, panels(properties={"__revenue": 2000.0}), {"revenue": Revenue(20.0)}),
    "a name with blanks": (openpanel.PROTOCOL, panels(name=" e "), {"name": "e"}),
    "no session": (goatcounter.PROTOCOL, hits(path="/a", session="null"), {"client": ""}),
    "no id": (snowplow.PROTOCOL, Sent(TP2, {"e": "pv", "url": "/a", "eid": "00000000-0000-0000-0000-000000000000"}),
              {"id": None}),
    "no time": (segment.PROTOCOL, track(timestamp="0001-01-01T00:00:00Z", sentAt="0001-01-01T00:00:00Z"),
                {"ts": None, "sent_at": None}),
    "no time of PHP": (umami.PROTOCOL, umamis(timestamp=0), {"ts": None}),
    "no time of .NET": (umami.PROTOCOL, umamis(timestamp="0001-01-01T00:00:00Z"), {"ts": None}),
    "no time of Matomo's": (matomo.PROTOCOL, matomos("rec=1&url=/a&cdt=0001-01-01+00:00:00&cdo=5"),
                            {"ts": None, "ago_ms": 5_000}),
    "no seconds of Matomo's": (matomo.PROTOCOL, matomos("rec=1&url=/a&cdt=0&cdo=5"), {"ts": None, "ago_ms": 5_000}),
    "languages": (umami.PROTOCOL, umamis(language="de-DE,de;q=0.9"), {"language": "de-DE"}),
    "a locale of iOS": (segment.PROTOCOL, track(context={"locale": "en_US_POSIX"}), {"language": "en-US"}),
    "a locale of Linux": (segment.PROTOCOL, track(context={"locale": "en_US.UTF-8"}), {"language": "en-US"}),
    "a locale of Android": (segment.PROTOCOL, track(context={"locale": "zh_CN_#Hans"}), {"language": "zh-CN"}),
    "addresses": (segment.PROTOCOL, track(properties={
        "customer_ip_address": "203.0.113.9", "requestIpAddr": "203.0.113.9", "ship_address": "Kai 1", "plan": "pro"}),
        {"props": {"ship_address": "Kai 1", "plan": "pro"}}),
    "a phone's screen": (posthog.PROTOCOL, posthogs(properties={
        "$screen_width": 411.428571, "$screen_height": 914.2, "$locale": "pt_BR"}),
        {"screen": "411x914", "language": "pt-BR", "props": {}}),
    "a phone's screen by Segment": (segment.PROTOCOL, track(context={"screen": {"width": 411.4, "height": 914.2}}),
                                    {"screen": "411x914"}),
    "half a screen": (segment.PROTOCOL, track(context={"screen": {"width": 411}}), {"screen": ""}),
    "a number as revenue": (plausible.PROTOCOL, plausibly(revenue=12), {"revenue": Revenue(12)}),
    "many of Matomo's, and rec": (matomo.PROTOCOL, matomos(body=b'{"rec": 1, "requests": ["?rec=1&url=/a"]}'),
                                 {"url": "/a"}),
    "one of Matomo's": (matomo.PROTOCOL, matomos(body=b'{"rec": 1, "url": "/a"}'), {"url": "/a"}),
    "one event": (snowplow.PROTOCOL, Sent(TP2, {"e": "pv", "url": "/a"}), {"url": "/a"}),
    "one as data": (snowplow.PROTOCOL, Sent(TP2, {"data": {"e": "pv", "url": "/a"}}), {"url": "/a"}),
    "title of a pixel": (snowplow.PROTOCOL, Sent("/i", b"", {}, "e=pv&url=/a&page=Gr%F6%DFe", "GET"),
                         {"title": "Größe"}),
    "written by hand": (openpanel.PROTOCOL, Sent("/track", {"type": "track", "payload": {
        "name": "e", "properties": '{"plan": "pro"}'}}), PRO),
    "a whole address": (goatcounter.PROTOCOL, Sent("/count", b"", {}, "p=https://example.com/a?x=1", "GET"),
                        {"url": "https://example.com/a?x=1"}),
    "a count in a form": (goatcounter.PROTOCOL, Sent("/count", b"p=/a&t=T&s=1920.5,1080,1"),
                          {"title": "T", "screen": "1920x1080"}),
    "a usual screen": (goatcounter.PROTOCOL, Sent("/count", b"", {}, "p=/a&s=1920,1080,1.5", "GET"),
                       {"screen": "1920x1080"}),
    "a list of hits": (goatcounter.PROTOCOL, Sent("/api/v0/count", [{"path": "/a"}]), {"url": "/a"}),
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "sent", "wanted"), CASES.values(), ids=CASES)
def test_what_is_sent_is_the_event_that_is_meant(protocol: Protocol, sent: Sent, wanted: dict[str, Any]) -> None:
    event = reading.event(protocol, sent)
    assert {name: getattr(event, name) for name in wanted} == wanted


TIMES: tuple[object, ...] = (
    AT, AT // 1_000, AT / 1_000, str(AT), str(AT // 1_000), AT * 1_000, AT * 1_000_000, f"{AT}000", f"{AT}000000",
    DAY.isoformat(), f"{DAY:%Y-%m-%d %H:%M:%S} UTC", f"{DAY:%a, %d %b %Y %H:%M:%S} GMT",
    f"{DAY.isoformat()}[Etc/UTC]", f"/Date({AT}+0100)/",
    f"{DAY:%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)", f"{DAY:%Y-%m-%dT%H:%M:%S}.000456789Z",
    f"{DAY:%Y-%m-%d %H:%M:%S} +0000 UTC", f"{DAY:%Y-%m-%d %H:%M:%S}.000456789 +0000 UTC m=+0.012345",
    f"{DAY:%Y-%m-%d} {DAY.hour + 1:02}:{DAY:%M:%S} +0100 CET", f"{DAY:%a %b %d %H:%M:%S} UTC {DAY:%Y}",
    f"{DAY:%a %b %d} {DAY.hour + 1:02}:{DAY:%M:%S} GMT+01:00 {DAY:%Y}", f"{DAY:%a %b %d %H:%M:%S %Y}",
    f"{DAY:%a %b %d %H:%M:%S} +0000 {DAY:%Y}", f"{DAY:%A, %d-%b-%y %H:%M:%S} GMT", f"{DAY:%d %b %Y %H:%M:%S} +0000",
    f"{DAY:%A, %d-%b-%Y %H:%M:%S} UTC", f"{DAY:%Y/%m/%d %H:%M:%S}", f'"{DAY:%Y-%m-%dT%H:%M:%S}Z"',
    f"{DAY:%Y-%m-%dT%H:%M:%S}\u221200:00",
    f"{DAY:%Y-%m-%dT%H:%M:%S}Z".translate({48 + digit: 0x660 + digit for digit in range(10)}),
    {"$date": f"{DAY:%Y-%m-%dT%H:%M:%S}Z"}, {"$date": AT}, {"_seconds": AT // 1_000, "_nanoseconds": 0},
    {"seconds": str(AT // 1_000), "nanos": 5}, json.dumps({"$date": AT}),
    {"date": f"{DAY:%Y-%m-%d %H:%M:%S}.000000", "timezone_type": 3, "timezone": "UTC"},
    {"date": f"{DAY:%Y-%m-%d %H:%M:%S}.000000", "timezone_type": 1, "timezone": "+00:00"},
)  # fmt: skip
NO_TIMES: tuple[object, ...] = ("null", "undefined", "Invalid Date", "NaN", "None", " ", "0")
MEANT_OTHERWISE: tuple[object, ...] = (
    "yesterday", "Sat Nov 28 21:00:00 CET 2026", {"a": 1}, {"seconds": True}, {"_seconds": 5}, {"$date": {"$date": AT}},
    {"date": "2026-11-28 21:00:00.000000", "timezone_type": 3, "timezone": "Europe/Berlin"}, "{", "28.11.2026 20:00",
)  # fmt: skip


@pytest.mark.parametrize("spelt", TIMES, ids=str)
def test_a_time_in_every_notation_that_clients_have(spelt: object) -> None:
    assert time_of(reading.event(segment.PROTOCOL, track(timestamp=spelt)).ts) == AT
    assert time_of(reading.event(posthog.PROTOCOL, posthogs(timestamp=spelt)).ts) == AT


@pytest.mark.parametrize("screen", [{}, {"id": "01946f6e-3f3a-7c0e-9a54-0f1d2c3b4a59"}, {"name": " "}])
def test_a_screen_without_a_name_is_not_the_front_page(screen: dict[str, object]) -> None:
    batch = reading.batch(snowplow.PROTOCOL, described(f"{IGLU}.mobile/screen_view", **screen))
    (refused,) = batch.items
    assert isinstance(refused, Refusal) and "`name`" in refused.detail


@pytest.mark.parametrize("spelt", NO_TIMES, ids=str)
def test_a_program_that_knows_no_time_happens_now(spelt: object) -> None:
    assert reading.event(segment.PROTOCOL, track(timestamp=spelt)).ts is None
    assert reading.event(posthog.PROTOCOL, posthogs(timestamp=spelt)).ts is None


@pytest.mark.parametrize("spelt", MEANT_OTHERWISE, ids=str)
def test_what_is_no_time_that_is_understood_is_refused(spelt: object) -> None:
    for event in (reading.event(segment.PROTOCOL, track(timestamp=spelt)),
                  reading.event(posthog.PROTOCOL, posthogs(timestamp=spelt))):  # fmt: skip
        with pytest.raises(ValueError, match="is no time"):
            time_of(event.ts)


@pytest.mark.parametrize("path", ["/api/v1/event", "/api/v1/s2s/event"])
def test_jitsus_first_version(path: str) -> None:
    context = {
        "event_id": "e-1", "user": {"anonymous_id": "a", "internal_id": 7, "email": "ann@b.example"},
        "utc_time": "2026-11-28T20:00:00.000000Z", "referer": "https://search.example/", "page_title": "T",
        "doc_host": "example.com", "doc_path": "/a", "doc_search": "?b=1", "screen_resolution": "1680x1050",
        "user_language": "ru-RU", "utm": {"source": "news"}, "vp_size": "1x1", "ids": {"ga": "1"}, "user_agent": "U",
    }  # fmt: skip
    flat = {"api_key": "k", "src": "jitsu", "event_type": "pageview", "plan": "pro", **context}
    nested = {"event_type": "pageview", "eventn_ctx": context, "eventn_data": {"plan": "pro"}}
    wanted = Tracked(
        site="", type=EventType.PAGEVIEW, url="https://example.com/a?b=1&utm_source=news",
        referrer="https://search.example/", title="T", id="e-1", ts="2026-11-28T20:00:00.000000Z", user="7", client="a",
        screen="1680x1050", language="ru-RU", props={"plan": "pro"}, agent="U",
    )  # fmt: skip
    found = reading.batch(segment.PROTOCOL, Sent(path, [flat, nested], query="token=js.k"))
    assert (found.credential, found.items) == ("js.k", [wanted, wanted])
    assert reading.answered(segment.PROTOCOL, found)[:2] == (200, b'{"status":"ok"}')
    assert reading.batch(segment.PROTOCOL, Sent(path, flat)).credential == "k"
    known = reading.event(segment.PROTOCOL, Sent(path, flat | {"event_type": "user_identify"}))
    assert (known.type, known.props) == (EventType.IDENTIFY, {"email": "ann@b.example", "plan": "pro"})
    by_mail = flat | {"user": {"anonymous_id": "a", "email": "ann@b.example"}}
    mailed = reading.event(segment.PROTOCOL, Sent(path, by_mail))
    assert (mailed.user, mailed.client) == ("", "a")
    paid = reading.event(segment.PROTOCOL, Sent(path, {"event_type": "buy", "revenue": "9,90", "currency": "EUR"}))
    assert (paid.name, paid.revenue, paid.client) == ("buy", Revenue("9.9", "EUR"), "")
    for wrong in (b"", {}, [5], b"["):
        refused = reading.batch(segment.PROTOCOL, Sent(path, wrong))
        assert isinstance(refused.items[0], Refusal) and reading.answered(segment.PROTOCOL, refused).status == 400


def test_a_key_that_only_the_messages_name_is_that_of_all_or_of_none() -> None:
    def key(*keys: str) -> str:
        messages = [{"type": "track", "event": "e", "userId": "u", "writeKey": each} for each in keys]
        batches = [reading.batch(segment.PROTOCOL, Sent("/v1/batch", body)) for body in ({"batch": messages}, messages)]
        assert batches[0].credential == batches[1].credential
        return batches[0].credential

    assert (key("k", "k"), key("k", "other")) == ("k", "")


@given(st.binary() | st.binary().map(lambda some: b'--b\r\nContent-Disposition: form-data; name="data"' + some))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    found = forms.form(body, DEFAULT_LIMITS)
    assert isinstance(found, Refusal) or all(
        name.encode() + value.encode() for name, value in found.items() if name or value
    )
    for protocol in (posthog.PROTOCOL, matomo.PROTOCOL, plausible.PROTOCOL):
        reading.holds_for_any(protocol, Sent(protocol.routes[0].path, body))


def test_a_form_has_at_most_as_many_fields_as_a_query() -> None:
    many = parts(**{f"f{number}": "" for number in range(501)})
    assert isinstance(forms.form(many, DEFAULT_LIMITS), Refusal)
    assert forms.form(parts(a="1", b="x\r\n\r\ny"), DEFAULT_LIMITS) == {"a": "1", "b": "x\r\n\r\ny"}


LISTS: dict[str, tuple[Protocol, Callable[[object], Sent], object]] = {
    "segment": (segment.PROTOCOL, lambda sent: Sent("/v1/batch", {"batch": sent}),
                {"type": "track", "event": "e", "userId": "u"}),
    "posthog": (posthog.PROTOCOL, lambda sent: Sent("/batch", {"batch": sent}), {"event": "e", "distinct_id": "d"}),
    "ga4": (ga4.PROTOCOL, lambda sent: Sent("/mp/collect", {"client_id": "c", "events": sent}), {"name": "e"}),
    "matomo": (matomo.PROTOCOL, lambda sent: Sent("/matomo.php", {"requests": sent}), "?rec=1&url=/a"),
    "umami": (umami.PROTOCOL, lambda sent: Sent("/api/batch", sent), umamis().body),
    "goatcounter": (goatcounter.PROTOCOL, lambda sent: Sent("/api/v0/count", {"hits": sent}), {"path": "/a"}),
    "snowplow": (snowplow.PROTOCOL, lambda sent: Sent(TP2, {"data": sent}), {"e": "pv", "url": "/a"}),
    "openpanel": (openpanel.PROTOCOL, lambda sent: Sent("/track", {"type": "batch", "payload": sent}),
                  {"type": "track", "payload": {"name": "e"}}),
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "sent", "event"), LISTS.values(), ids=LISTS)
def test_a_list_may_come_as_php_writes_one_with_gaps(
    protocol: Protocol, sent: Callable[[object], Sent], event: object
) -> None:
    with_gaps = reading.batch(protocol, sent({"0": event, "2": event})).items
    assert with_gaps == reading.batch(protocol, sent([event, event])).items
    assert [type(item) for item in with_gaps] == [Tracked, Tracked]
