"""`POST /collect` on a real socket: what is taken, what is refused and how it is said, and what lies on the broker."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from activity.event import TOPICS
from ingest.collect import Options
from ingest.sites import Site, Sites
from tests.ingest.conftest import AGENT, KEY, Log, Running, pageview, read_answer, request_bytes

MAX_BODY = Options().max_body


def dead_letters(log: Log) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in log.records("footfall.dead-letter")]


def test_one_event_is_accepted_and_lies_on_its_topic_under_its_visitor(server: Running, log: Log) -> None:
    answer = server.post(pageview(title="Home", referrer="https://news.example.org/x"))

    assert (answer.status, answer.json()) == (202, {"accepted": 1, "duplicates": 0, "refused": []})
    (record,) = log.records("footfall.pageview")
    event = json.loads(record.value or b"")
    assert event["title"] == "Home"
    assert event["source"] == "news.example.org"
    assert event["browser"] == "Firefox"
    assert "127.0.0.1" not in str(record)
    assert record.key == f"example.com/{event['visitor']}".encode()
    assert [name for name, _ in record.headers] == ["footfall-process", "footfall-seq"]


def test_a_search_in_the_address_is_one_accepted_event_and_two_records(server: Running, log: Log) -> None:
    answer = server.post(pageview(url="https://example.com/find?q=red+shoes"))

    assert answer.json()["accepted"] == 1
    assert [event["term"] for event in log.events("footfall.search")] == ["red shoes"]
    assert len(log.events()) == 1


def test_one_bad_event_is_refused_alone(server: Running, log: Log) -> None:
    batch = [
        pageview(id="a"),
        pageview(url=7),
        pageview(id="b"),
        pageview(site="unknown.example"),
        {"site": "example.com"},
    ]
    answer = server.post({"sent_at": 1_700_000_000_000, "events": batch})

    assert answer.status == 202
    assert answer.json()["accepted"] == 2
    assert [(refusal["index"], refusal["reason"]) for refusal in answer.json()["refused"]] == [
        (1, "wrong_type"),
        (3, "unknown_site"),
        (4, "missing_field"),
    ]
    assert answer.headers["x-footfall-refused"] == "wrong_type,unknown_site,missing_field"
    assert len(log.events()) == 2
    assert len(dead_letters(log)) == 1


def test_an_unknown_site_is_told_how_to_be_added(server: Running, log: Log) -> None:
    answer = server.post(pageview(site="shop.example.org"))

    assert answer.status == 403
    assert "footfall site add shop.example.org" in answer.json()["refused"][0]["detail"]
    assert dead_letters(log) == []


@pytest.mark.parametrize(
    "spelt",
    [
        "Example.com", "www.example.com", "https://example.com", "http://www.example.com/shop?a=b#c", "//example.com",
        " example.com ", "example.com/", "example.com.", "www.example.com.", "example.com:443", "WWW.example.com:8080",
    ],
)  # fmt: skip
def test_a_site_counts_however_its_domain_is_written(server: Running, log: Log, spelt: str) -> None:
    assert server.post(pageview(site=spelt)).status == 202
    assert [event["site"] for event in log.events("footfall.pageview")] == ["example.com"]


def test_a_site_counts_in_its_own_letters_and_others_are_other_sites() -> None:
    domains = ("xn--strae-oqa.de", "strasse.de", "xn--bcher-kva.de:81")
    known = Sites(sites={domain: Site(domain=domain) for domain in domains})
    for spelt, domain in (
        ("straße.de", "xn--strae-oqa.de"), ("https://www.STRAẞE.de/", "xn--strae-oqa.de"), ("strasse.de", "strasse.de"),
        ("bücher.de:81", "xn--bcher-kva.de:81"), ("bu\u0308cher.de:81", "xn--bcher-kva.de:81"), ("bücher.de", ""),
        ("strase.de", ""), (" " * 600 + "strasse.de", ""),
    ):  # fmt: skip
        site = known.spelt(spelt)
        assert (site.domain if site else "") == domain, spelt


def test_a_refusal_never_offers_a_command_made_of_what_somebody_sent(server: Running) -> None:
    detail = server.post(pageview(site="x; rm -rf ~")).json()["refused"][0]["detail"]
    assert "site add x" not in detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"null",
        b"[]",
        b'"text"',
        b"\x00\x01\x02",
        b"\xff\xfe\xfa",
        b'{"events":[{"site":"example.com","type":"pageview","url":"https://example.com/"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_cannot_be_understood_is_buried_as_it_was_received(server: Running, log: Log, body: bytes) -> None:
    answer = server.post(body)

    assert answer.status == 400
    assert answer.headers["x-footfall-refused"] in ("malformed", "wrong_type")
    assert answer.json()["refused"][0]["detail"]
    (letter,) = dead_letters(log)
    assert base64.b64decode(letter["bytes"]) == body[:16_384]
    assert letter["length"] == len(body)
    assert letter["where"] == "/collect"
    assert letter["reason"] == answer.reasons()[0]
    assert "127.0.0.1" not in json.dumps(letter)
    assert server.get("/ready").status == 200


HIDDEN = b'{"site":"example.com","from":"203.0.113.77 port 4711","more":"' + b"x" * 200


def packed(body: bytes, times: int) -> bytes:
    """A body packed by gzip that often, in which it stands as it is."""
    return packed(gzip.compress(body, 0, mtime=0), times - 1) if times else body


@pytest.mark.parametrize(
    ("body", "encoding", "kept"),
    [
        (gzip.compress(HIDDEN, mtime=0)[:-9], "gzip", HIDDEN),
        (gzip.compress(HIDDEN, 0, mtime=0)[:-1], "", HIDDEN),
        (b"\x1f\x8bno gzip, and 203.0.113.77 in it", "", b"\x1f\x8bno gzip, and 203.0.113.77 in it"),
        (gzip.compress(gzip.compress(HIDDEN, mtime=0)[:-9], mtime=0), "gzip", HIDDEN),
        (gzip.compress(gzip.compress(HIDDEN, 0, mtime=0)[:-1], 0, mtime=0), "", HIDDEN),
        (packed(HIDDEN, 2)[:-60], "", HIDDEN),
        (packed(HIDDEN, 3)[:-60], "", b""),
        (gzip.compress(zstandard.compress(HIDDEN), 0, mtime=0)[:-9], "", b""),
        (gzip.compress(b"\x1f\x8b 203.0.113.77 is no gzip", 0, mtime=0), "", b""),
        (b"\x8b\x02\x80\xff 203.0.113.77", "br", b""),
        (b"\x8b\x02\x80\xff 203.0.113.77", "", b"\x8b\x02\x80\xff 203.0.113.77"),
        (HIDDEN, "br", HIDDEN),
    ],
)
def test_of_what_is_packed_and_broken_is_kept_what_can_be_masked(
    server: Running, log: Log, body: bytes, encoding: str, kept: bytes
) -> None:
    for path in ("/collect", "/v1/track"):
        assert server.post(body, {"Content-Encoding": encoding} if encoding else {}, path).status == 400
    letter, tracked = dead_letters(log)
    assert tracked["bytes"] == letter["bytes"]
    found = base64.b64decode(letter["bytes"])
    masked = kept.replace(b"203.0.113.77", b"0.0.0.0")
    assert masked.startswith(found)
    assert len(found) >= len(masked[:58])  # of what was in the last bytes nothing need come out
    assert b"203.0.113" not in found and b"203.0.113" not in json.dumps(letter).encode()
    assert letter["length"] == max(len(body), len(found))
    assert (hashlib.sha256(body).hexdigest() in letter["detail"]) == (kept != body)


def test_of_a_broken_gzip_no_more_is_unpacked_than_is_kept(server: Running, log: Log) -> None:
    assert server.post(gzip.compress(b"x" * 500_000, mtime=0)[:-9]).status == 400
    (letter,) = dead_letters(log)
    assert base64.b64decode(letter["bytes"]) == b"x" * 16_384
    assert letter["length"] > 16_384


def test_addresses_are_masked_in_a_broken_zlib_body_too(server: Running, log: Log) -> None:
    assert server.post(zlib.compress(b"from 203.0.113.7 " * 100)[:-9]).status == 400
    (letter,) = dead_letters(log)
    assert base64.b64decode(letter["bytes"]).startswith(b"from 0.0.0.0 from 0.0.0.0 ")


@pytest.mark.parametrize("field", ["type", "url", "site", "ts", "id", "props", "search", "title", "screen"])
def test_a_wrong_type_names_its_field(server: Running, field: str) -> None:
    answer = server.post(pageview(**{field: [1, {"a": None}]}))

    assert answer.status == 400
    assert field in answer.json()["refused"][0]["detail"]


def test_unknown_fields_do_no_harm(server: Running, log: Log) -> None:
    assert server.post(pageview(colour="red", nested={"a": [1, 2]})).status == 202
    assert len(log.events()) == 1


def test_nul_and_lone_surrogates_come_out_clean(server: Running, log: Log) -> None:
    body = rb'{"site":"example.com","type":"pageview","url":"https://example.com/","title":"a\u0000b\ud800c"}'
    assert server.post(body).status == 202
    title = log.events()[0]["title"]
    assert "\0" not in title
    assert title.encode("utf-8")


def test_a_body_beyond_the_limit_is_413_and_the_service_stays_small(server: Running) -> None:
    before = resident(server)
    for _ in range(3):
        assert server.post(b"x" * 10_000_000).status == 413
    assert resident(server) - before < 5_000_000
    assert server.post(pageview()).status == 202


def test_a_body_that_announces_no_length_is_cut_off_too(server: Running) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = request_bytes("GET", "/collect", b"", {"Transfer-Encoding": "chunked"}).replace(b"GET", b"POST")
    assert server.raw(head + chunk * 160 + b"0\r\n\r\n").status == 413


def resident(server: Running) -> int:
    """Resident bytes of the worker."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) * 4096 for child in children)


def test_a_gzip_bomb_is_never_unpacked(server: Running) -> None:
    squeezer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(squeezer.compress(bytes(1_000_000)) for _ in range(800)) + squeezer.flush()
    assert len(bomb) < MAX_BODY
    before = resident(server)

    answer = server.post(bomb, {"Content-Encoding": "gzip"})

    assert (answer.status, answer.reasons()) == (413, ["too_large"])
    assert resident(server) - before < 10_000_000


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Encoding": "gzip"}]
)
def test_gzip_is_known_by_its_first_bytes(server: Running, headers: dict[str, str]) -> None:
    packed = json.dumps(pageview()).encode()
    assert server.post(gzip.compress(packed), headers).status == 202
    assert server.post(gzip.compress(packed[:20]) + gzip.compress(packed[20:]) + b"\0", headers).status == 202


def test_a_body_in_zlib_or_another_charset_is_read(server: Running, log: Log) -> None:
    text = json.dumps(pageview(title="café"), ensure_ascii=False)
    assert server.post(zlib.compress(text.encode()), {"Content-Encoding": "deflate"}).status == 202
    assert server.post(b"x\x9c" + text.encode()).reasons() == ["malformed"]
    for charset in ("ISO-8859-1", "windows-1252", "utf-16", "utf-16le", "UTF-8"):
        written = text.encode(charset)
        assert server.post(written, {"Content-Type": f'application/json; charset="{charset}"'}).status == 202
    assert server.post(text.encode("utf-16")).status == 202
    mislabelled = {"Content-Type": "application/json; charset=iso-8859-1"}  # JSON is UTF-8 whatever its type says
    assert server.post(text.encode(), mislabelled).status == 202
    assert {event["title"] for event in log.events()} == {"café"}
    assert len(log.events()) == 8


def test_too_many_events_in_a_request(server: Running) -> None:
    answer = server.post({"events": [pageview()] * (Options().limits.events + 1)})
    assert (answer.status, answer.reasons()) == (400, ["too_many"])


def test_times_beyond_the_clamp_are_clamped_unless_the_sender_has_the_key(server: Running, log: Log) -> None:
    now = time.time_ns() // 1_000_000
    for stamp in (0, now + 10**9, -(10**15)):
        answer = server.post(pageview(ts=stamp, id=f"clamp{stamp}"))
        assert answer.status in (202, 400)
    trusted = {"Authorization": f"Bearer {KEY}"}
    assert server.post(pageview(ts=1_431_857_118_000, id="old"), trusted).status == 202
    stored = {event["occurred_at"]: event.get("clamped", False) for event in log.events()}
    assert stored.pop(1_431_857_118_000) is False
    assert stored
    for occurred_at, clamped in stored.items():
        assert clamped
        assert now - 73 * 3_600_000 < occurred_at < now + 120_000


def test_events_with_an_empty_time_are_each_an_event(server: Running, log: Log) -> None:
    assert server.post({"events": [pageview(ts=ts) for ts in ("", "", [], None)]}).json()["accepted"] == 4
    assert len({event["id"] for event in log.events()} - {""}) == 4


def test_a_named_visitor_needs_the_key(server: Running, log: Log) -> None:
    refused = server.post(pageview(visitor="u-1"))
    assert (refused.status, refused.reasons()) == (403, ["not_allowed"])
    wrong = server.post(pageview(visitor="u-1"), {"Authorization": "Bearer wrong"})
    assert (wrong.status, wrong.reasons()) == (403, ["not_allowed"])
    for agent in ("a", "b"):
        headers = {"Authorization": f"Bearer {KEY}", "User-Agent": agent}
        assert server.post(pageview(visitor="u-1", id=agent), headers).status == 202
    assert len({event["visitor"] for event in log.events()}) == 1


def test_the_same_event_again_is_a_duplicate_and_other_content_under_its_id_is_not(server: Running, log: Log) -> None:
    before = counted(server)
    event = pageview(id="x-1", ts=time.time_ns() // 1_000_000)
    assert server.post({"sent_at": 1_700_000_000_000, "events": [event]}).json()["accepted"] == 1
    again = server.post({"sent_at": 1_700_000_005_000, "events": [event]})
    assert (again.status, again.json()) == (202, {"accepted": 0, "duplicates": 1, "refused": []})
    other = server.post({"events": [{**event, "title": "other"}]})
    assert other.json()["accepted"] == 1
    assert len(log.events()) == 2
    after = counted(server)
    labels = ("accepted", ""), ("accepted", "id_reused"), ("duplicate", "")
    assert [after[label] - before[label] for label in labels] == [1, 1, 1]


def counted(server: Running) -> dict[tuple[str, str], int]:
    lines = server.get("/metrics").body.decode()
    found = re.findall(r'footfall_events_total\{outcome="(\w+)",reason="(\w*)"\} (\d+)', lines)
    return {(outcome, reason): int(value) for outcome, reason, value in found}


def test_twice_in_one_batch_is_once_on_the_log(server: Running, log: Log) -> None:
    answer = server.post({"events": [pageview(id="same"), pageview(id="same")]})
    assert (answer.json()["accepted"], answer.json()["duplicates"]) == (1, 1)
    assert len(log.events()) == 1


@pytest.mark.parametrize("header", ["Sec-GPC", "DNT"])
def test_who_asks_not_to_be_counted_is_not(server: Running, log: Log, header: str) -> None:
    answer = server.post(pageview(), {header: "1"})
    assert (answer.status, answer.reasons()) == (400, ["opted_out"])
    assert server.get("/collect.gif?site=example.com&url=https://example.com/", {header: "1"}).status == 200
    assert all(log.records(topic) == [] for topic in (*TOPICS, "footfall.dead-letter"))


def test_a_site_with_origins_takes_no_others(server: Running) -> None:
    event = pageview(site="closed.example", url="https://closed.example/")
    refused = server.post(event, {"Origin": "https://evil.example"})
    assert (refused.status, refused.reasons()) == (403, ["wrong_origin"])
    assert server.post(event, {"Origin": "https://closed.example"}).status == 202


def test_a_page_of_any_origin_may_send_and_read_the_answer(server: Running) -> None:
    preflight = server.raw(
        request_bytes(
            "OPTIONS",
            "/collect",
            b"",
            {
                "Origin": "https://a.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type, x-requested-with",
            },
        )
    )
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-headers"] == "content-type, x-requested-with"
    for answer in (preflight, *(server.post(body, {"Origin": "https://a.example"}) for body in (pageview(), b"{"))):
        # `navigator.sendBeacon` always sends with credentials, and then "*" is not enough.
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "origin"
    assert server.post(pageview()).headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/collect", 405), ("PUT", "/collect", 405), ("POST", "/elsewhere", 404), ("OPTIONS", "/collect.gif", 204),
     ("GET", "/api/event", 405)],
)  # fmt: skip
def test_a_page_may_read_what_it_did_wrong(server: Running, method: str, path: str, status: int) -> None:
    answer = server.raw(request_bytes(method, path, b"", {"Origin": "null"}))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "null")


def test_a_public_page_may_send_to_a_private_network(server: Running) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Private-Network": "true"}
    answer = server.raw(request_bytes("OPTIONS", "/collect", b"", asked))
    assert answer.headers["access-control-allow-private-network"] == "true"


def test_the_forwarded_address_counts_from_a_listed_proxy_only_from_its_end(server: Running, log: Log) -> None:
    for forwarded in ("203.0.113.1", "198.51.100.9, 203.0.113.1", "203.0.113.1:4711", "203.0.113.2"):
        assert server.post(pageview(), {"X-Forwarded-For": forwarded}).status == 202
    visitors = [event["visitor"] for event in log.events()]
    assert len(visitors) == 4
    assert len(set(visitors)) == 2


def test_the_pixel_counts_the_page_that_shows_it(server: Running, log: Log) -> None:
    answer = server.get("/collect.gif?site=example.com", {"Referer": "https://example.com/no-script?a=1"})

    assert (answer.status, answer.headers["content-type"], answer.headers["cache-control"]) == (
        200,
        "image/gif",
        "no-store",
    )
    assert answer.body[:6] == b"GIF89a"
    (event,) = log.events()
    assert (event["path"], event["protocol"]) == ("/no-script", "pixel")
    assert server.get("/collect.gif?site=nobody.example").headers["x-footfall-refused"]


def test_other_methods_and_paths_are_told_what_to_do(server: Running) -> None:
    wrong = server.get("/collect")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST, OPTIONS")
    assert server.post(b"", path="/live").status == 405
    assert server.get("/nothing").status == 404
    assert b"data-site" in server.get("/").body


def test_a_connection_takes_one_request_after_the_other(server: Running, log: Log) -> None:
    with server.connect() as connection:
        for number in range(5):
            body = json.dumps(pageview(id=str(number))).encode()
            connection.sendall(request_bytes("POST", "/collect", body, {"Connection": "keep-alive"}))
            assert read_answer(connection).status == 202
    assert len(log.events()) == 5


def test_a_bot_is_told_apart(server: Running, log: Log) -> None:
    server.post(pageview(), {"User-Agent": AGENT.replace("Firefox", "HeadlessChrome")})
    server.raw(b"POST /collect HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 73\r\n\r\n"
               b'{"site":"example.com","type":"pageview","url":"https://example.com/page"}')  # fmt: skip
    assert all(event["bot"] for event in log.events())
    assert len(log.events()) == 2


@pytest.mark.parametrize("agent", ["python-requests/2.32.0", "ShopBackend/1.0"])
def test_a_server_that_names_its_visitors_is_no_bot(server: Running, log: Log, agent: str) -> None:
    server.post(pageview(visitor="customer-1", title="named"), {"User-Agent": agent, "Authorization": f"Bearer {KEY}"})
    server.post(pageview(), {"User-Agent": agent, "Authorization": f"Bearer {KEY}"})
    crawler = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)", "Authorization": f"Bearer {KEY}"}
    server.post(pageview(visitor="customer-2"), crawler)
    events = log.events()  # by partition, and each visitor's is another
    assert len(events) == 3
    assert [event.get("title") for event in events if "bot" not in event] == ["named"]  # what is empty is left out
