"""Requests of other trackers' clients to the function as AWS runs it: each is let in, understood and answered as its
vendor does. API Gateway sends bodies in base64, and takes a GIF so."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from tests.e2e.functions import Aws, Image, Zip
from tests.e2e.test_serverless import read
from tests.serverless import events

pytestmark = pytest.mark.real

SNOWPLOW = "/com.snowplowanalytics.snowplow/tp2"


class Sent(NamedTuple):
    """A request, and the status and body that its client takes for success; b"" if the body says nothing to it."""

    event: dict[str, Any]
    protocol: str
    status: int
    body: bytes
    content_type: str = "application/json"


def requests(site: str) -> list[Sent]:
    """One page view a request, `/NUMBER`, of each family, and each way in that differs in its encoding."""
    page, key = [f"https://{site}/{number}" for number in range(12)], f"{site}-key"
    basic = base64.b64encode(f"{key}:".encode()).decode()
    segment = {"batch": [{"type": "page", "anonymousId": "a", "messageId": "m-0", "properties": {"url": page[0]}}]}
    pixel = {"e": "pv", "url": page[6], "aid": site, "eid": str(uuid.uuid4()), "duid": "d"}
    ue = {"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": [{
        **pixel, "url": page[5], "eid": str(uuid.uuid4()),
        "cx": base64.urlsafe_b64encode(b'{"data":[{"schema":"iglu:com.acme/a/jsonschema/1-0-0"}]}').decode(),
    }]}  # fmt: skip
    posthog = {"api_key": key, "batch": [{
        "event": "$pageview", "distinct_id": "u", "uuid": str(uuid.uuid4()), "properties": {"$current_url": page[7]},
    }]}  # fmt: skip
    ga4 = {"v": 2, "tid": key, "cid": "c", "en": "page_view", "dl": page[4]}
    matomo = {"idsite": key, "rec": 1, "_id": "0123456789abcdef", "rand": 7}
    openpanel = {"type": "track", "payload": {"name": "screen_view", "properties": {"__path": page[10]}}}
    http, plain = events.http, {"content_type": "text/plain;charset=UTF-8"}
    zipped: dict[str, Any] = {"content_encoding": "gzip", "authorization": f"Basic {basic}"}
    return [
        Sent(
            http("POST", "/v1/batch", gzip.compress(json.dumps(segment).encode()), encoded=True, **zipped),
            "segment", 200, b'{"success":true}',
        ),
        Sent(
            http("POST", "/api/event", {"n": "pageview", "u": page[1], "d": site}, encoded=True, **plain),
            "plausible", 202, b"ok", "text/plain",
        ),
        Sent(
            http("POST", "/api/send", {"type": "event", "payload": {"website": key, "hostname": site, "url": "/2"}}),
            "umami", 200, b"",
        ),
        Sent(
            http("POST", "/api/batch", [{"type": "event", "payload": {"website": key, "hostname": site, "url": "/3"}}]),
            "umami", 200, b"",
        ),
        Sent(http("POST", "/g/collect", "", query=urlencode(ga4), **plain), "ga4", 204, b"", ""),
        Sent(http("POST", SNOWPLOW, ue, encoded=True), "snowplow", 200, b"ok", "text/plain"),
        Sent(http("GET", "/i", query=urlencode(pixel)), "snowplow", 200, b"GIF89a", "image/gif"),
        Sent(
            http("POST", "/batch/", gzip.compress(json.dumps(posthog).encode()), "compression=gzip-js", True, **plain),
            "posthog", 200, b'{"status":1}',
        ),
        Sent(
            http("GET", "/matomo.php", query=urlencode({**matomo, "url": page[8]})),
            "matomo", 200, b"GIF89a", "image/gif",
        ),
        Sent(
            http("POST", "/matomo.php", {"requests": ["?" + urlencode({**matomo, "rand": 8, "url": page[9]})]}),
            "matomo", 200, b'{"status":"success","tracked":1,"invalid":0,',
        ),
        Sent(http("POST", "/track", openpanel, openpanel_client_id=key), "openpanel", 200, b""),
        Sent(
            http("GET", "/count", query=urlencode({"p": "/11", "rnd": "abc12"}), referer=f"https://{site}/"),
            "goatcounter", 200, b"GIF89a", "image/gif",
        ),
    ]  # fmt: skip


def answered(answer: dict[str, Any]) -> bytes:
    body = answer.get("body") or ""
    return base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()


def test_each_protocol_is_let_in_understood_and_answered(
    kafka: str, site: str, zipped: Zip, aws: Aws, tmp_path: Path
) -> None:
    Image(kafka, aws, aws.bucket(), tmp_path).load(events.clock())  # makes the topics
    ids = json.dumps([f"{site}-key", site, f"snowplow:{site}", f"matomo:{site}-key", f"goatcounter:{site}"])
    known = f'[[site]]\ndomain = "{site}"\nids = {ids}\n'
    with zipped.running("track", FOOTFALL_BROKER=f"kafka://{kafka}", FOOTFALL_SITES=known) as track:
        for sent in requests(site):
            what = f"{sent.protocol} {sent.event['rawPath']}"
            answer = track.invoke(sent.event)
            assert answer["statusCode"] == sent.status, (what, answer)
            got = answered(answer)
            assert got.startswith(sent.body), (what, answer)
            assert answer["headers"].get("content-type", "").startswith(sent.content_type), (what, answer)
            assert answer["isBase64Encoded"] or not sent.body.startswith(b"GIF"), (what, answer)
        asked = {"origin": f"https://{site}", "access_control_request_headers": "content-type"}
        preflight = track.invoke(events.http("OPTIONS", "/api/event", access_control_request_method="POST", **asked))
    assert (preflight["statusCode"], preflight["headers"]["access-control-allow-headers"]) == (204, "content-type")
    stored = [json.loads(record.value) for record in read(kafka, site)]
    expected = sorted((f"/{number}", sent.protocol) for number, sent in enumerate(requests(site)))
    assert sorted((event["path"], event["protocol"]) for event in stored) == expected
    assert {event["browser"] for event in stored} == {"Chrome"}
    assert not [event for event in stored if "203.0.113" in str(event)]


def test_the_api_lets_every_path_and_method_in(template: dict[str, Any]) -> None:
    routes = [each["Properties"] for each in template.values() if each["Type"] == "AWS::ApiGatewayV2::Route"]
    assert [route["RouteKey"] for route in routes] == ["$default"]
