"""What nobody should send, sent: refused in words, neighbours kept, what cannot be understood kept as received."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import socket
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.e2e.harness import AGENT, PATIENCE, SITE, Up, fetch, footfall, running, secret_key, until

pytestmark = pytest.mark.slow

HOUR = 3_600_000


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("bad") / "data", "--site", SITE) as started:
        yield started
        assert started.process.poll() is None
        assert "ended (status" not in started.said(), started.said()
        assert "Traceback" not in started.said(), started.said()


def view(path: str, **more: Any) -> dict[str, Any]:
    return {"site": SITE, "type": "pageview", "url": f"https://{SITE}{path}"} | more


@pytest.fixture
def mark() -> str:
    """A path of this test's own."""
    return f"/{uuid.uuid4().hex[:10]}"


def stored(up: Up, mark: str, count: int = 1) -> list[dict[str, Any]]:
    """The test's page views, once there are `count`."""

    def found() -> list[dict[str, Any]] | None:
        rows = up.sql(f"SELECT * FROM events WHERE path LIKE '{mark}%' AND type = 'pageview' ORDER BY path")
        return rows if len(rows) >= count else None

    rows: list[dict[str, Any]] = until(found, f"{count} events of {mark} are stored")
    assert len(rows) == count
    return rows


def letters(up: Up, received: bytes) -> list[dict[str, Any]]:
    """The dead letters that hold exactly these bytes, of long ones the beginning, once there are any."""
    where = f"lower(hex(SHA256(bytes))) = '{hashlib.sha256(received[:16_384]).hexdigest()}'"
    found: list[dict[str, Any]] = until(
        lambda: up.sql(f"SELECT topic, reason, length(bytes) AS n FROM dead_letters WHERE {where}"), "it is kept"
    )
    return found


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (b"", "malformed", "the body is empty"),
        (b"{", "malformed", "the body is not JSON"),
        (b"not json at all", "malformed", "the body is not JSON"),
        (b"[1, 2]", "malformed", "not an object"),
        (b"null", "malformed", "not an object"),
        (b"\xff\xfe\x00\x01", "malformed", "the body is not JSON"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "malformed", "not JSON"),
        (b"[" * 200_000, "malformed", "the body is not JSON"),
        (b'{"events": 3}', "wrong_type", "`events` must be a list"),
        (b'{"site": "example.com", "type": "pageview"}', "missing_field", "`url`"),
        (b'{"type": "pageview", "url": "https://example.com/"}', "missing_field", "`site`"),
        (b'{"site": 5, "type": "pageview", "url": "https://example.com/"}', "wrong_type", "`site`"),
        (b'{"site": "example.com", "type": "glance", "url": "https://example.com/"}', "wrong_type", "glance"),
        (b'{"site": "example.com", "type": "pageview", "url": "pricing"}', "invalid_url", "send it whole"),
        (b'{"site": "example.com", "type": "custom", "url": "https://example.com/"}', "missing_field", "`name`"),
        (
            b'{"site": "example.com", "type": "pageview", "url": "https://example.com/", "props": [1]}',
            "wrong_type",
            "`props`",
        ),
        (
            b'{"site": "example.com", "type": "pageview", "url": "https://example.com/", "ts": "yesterday"}',
            "invalid_time",
            "Unix milliseconds or ISO 8601",
        ),
        (b"\x1f\x8b and no gzip", "malformed", "begins like gzip"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_what_cannot_be_understood_is_refused_in_words_and_kept_as_it_was(
    up: Up, body: bytes, reason: str, words: str
) -> None:
    status, headers, answer = up.post(body)
    assert status == 400, answer
    assert headers["x-footfall-refused"] == reason
    assert (answer["accepted"], answer["refused"][0]["reason"]) == (0, reason)
    assert words in answer["refused"][0]["detail"]
    assert {letter["reason"].split(":")[0] for letter in letters(up, body)} == {reason}


def test_neighbours_of_a_bad_event_are_kept(up: Up, mark: str) -> None:
    events = [
        view(f"{mark}/first"),
        {"site": SITE, "type": "pageview"},
        view(f"{mark}/second"),
        view(f"{mark}/third", props="no object"),
        "no event",
        view(f"{mark}/fourth", site="unknown.example"),
        view(f"{mark}/fifth"),
    ]
    body = json.dumps({"events": events}).encode()
    status, headers, answer = up.post(body)
    assert status == 202
    assert answer["accepted"] == 3
    assert [(each["index"], each["reason"]) for each in sorted(answer["refused"], key=lambda each: each["index"])] == [
        (1, "missing_field"),
        (3, "wrong_type"),
        (4, "wrong_type"),
        (5, "unknown_site"),
    ]
    assert set(headers["x-footfall-refused"].split(",")) == {"missing_field", "wrong_type", "unknown_site"}
    assert [row["path"] for row in stored(up, mark, 3)] == [f"{mark}/fifth", f"{mark}/first", f"{mark}/second"]
    assert len(letters(up, body)) == 1


def test_an_unknown_site_is_told_how_to_be_added_and_then_counts_at_once(up: Up, mark: str) -> None:
    site = f"s{mark[1:]}.example"
    event = view(mark, site=site)
    status, headers, answer = up.post(event)
    assert (status, headers["x-footfall-refused"]) == (403, "unknown_site")
    advice = answer["refused"][0]["detail"]
    assert f"`footfall site add {site}`" in advice
    assert footfall("site", "add", site, "--data", str(up.data)).returncode == 0
    until(lambda: up.post(event)[0] == 202, "the site is known")
    assert {row["site"] for row in stored(up, mark)} == {site}


def test_a_body_of_10_mb_is_refused_and_its_sender_can_read_why(up: Up) -> None:
    body = json.dumps({"events": [view("/", title="x" * 10_000_000)]}).encode()
    status, headers, answer = up.post(body)
    assert (status, headers["x-footfall-refused"]) == (413, "too_large")
    assert "send fewer events" in answer["refused"][0]["detail"]


def test_a_body_of_10_mb_in_chunks_is_refused_too(up: Up) -> None:
    pieces = [b"x" * 1_000_000] * 10
    address = urlsplit(up.tracking)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE) as connection:
        head = f"POST /collect HTTP/1.1\r\nHost: x\r\nUser-Agent: {AGENT}\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        for piece in pieces:
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"too_large" in answer


def test_of_a_broken_gzip_what_unpacks_is_kept(up: Up) -> None:
    body = gzip.compress(b'{"events": ["10.1.2.3"' + b", {}" * 1000, mtime=0)[:-9]
    status, headers, answer = up.post(body)
    assert (status, headers["x-footfall-refused"]) == (400, "malformed")
    assert "ends too early" in answer["refused"][0]["detail"]
    kept = zlib.decompressobj(wbits=31).decompress(body).replace(b"10.1.2.3", b"0.0.0.0")
    assert len(kept) > 1000
    assert {letter["reason"].split(":")[0] for letter in letters(up, kept)} == {"malformed"}


def test_a_gzip_bomb_costs_nothing(up: Up) -> None:
    bomb = gzip.compress(b'{"events": [' + b" " * 800_000_000, compresslevel=1)
    small = gzip.compress(bytes(200_000_000))
    before = memory(up)
    for body in (bomb, small):
        status, headers, answer = up.post(body, {"Content-Encoding": "gzip"})
        assert (status, headers["x-footfall-refused"]) == (413, "too_large"), answer
        assert answer["refused"][0]["detail"]
    assert memory(up) - before < 64 << 20


def memory(up: Up) -> int:
    """Peak resident bytes of the processes that answer the tracking port."""
    total = 0
    for pid in up.group():
        process = Path(f"/proc/{pid}")
        if b"tracking" in (process / "cmdline").read_bytes():
            status = (process / "status").read_text(encoding="ascii").splitlines()
            total += next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return total


def test_a_gzip_body_counts(up: Up, mark: str) -> None:
    body = gzip.compress(json.dumps({"events": [view(f"{mark}/a"), view(f"{mark}/b")]}).encode())
    assert up.post(body, {"Content-Encoding": "gzip"})[2]["accepted"] == 2
    stored(up, mark, 2)


def test_too_many_events_in_one_request(up: Up, mark: str) -> None:
    status, headers, answer = up.post({"events": [view(f"{mark}/{n}") for n in range(1001)]})
    assert (status, headers["x-footfall-refused"]) == (400, "too_many")
    assert "send them in several requests" in answer["refused"][0]["detail"]


def test_times_beyond_belief_are_moved_to_where_they_may_be(up: Up, mark: str) -> None:
    now = time.time_ns() // 1_000_000
    times = {"ancient": 10**11, "future": now + 365 * 24 * HOUR, "now": now - HOUR, "iso": "2001-01-01T00:00:00Z"}
    answer = up.send(view(f"{mark}/{name}", ts=ts) for name, ts in times.items())
    assert answer["accepted"] == len(times)
    stored(up, mark, len(times))
    found = up.sql(
        "SELECT path, clamped, toUnixTimestamp64Milli(occurred_at) AS at, toUnixTimestamp64Milli(received_at) AS got "
        f"FROM events WHERE path LIKE '{mark}%'"
    )
    age = {row["path"].rpartition("/")[2]: (bool(row["clamped"]), int(row["got"]) - int(row["at"])) for row in found}
    assert age["ancient"] == age["iso"] == (True, 72 * HOUR)
    assert age["future"] == (True, -60_000)
    assert not age["now"][0]


@pytest.mark.parametrize("ts", [1e300, -1e300, 10**30, "10000-01-01", "", "2026-02-30T00:00:00Z", 1_772_539_200])
def test_with_the_secret_key_a_time_that_cannot_be_is_refused(up: Up, mark: str, ts: Any) -> None:
    headers = {"Authorization": f"Bearer {secret_key(up.data)}"}
    status, named, answer = up.post(view(mark, ts=ts, visitor="v"), headers)
    assert status == 400, answer
    assert named["x-footfall-refused"] in ("invalid_time", "wrong_type")
    assert "`ts`" in answer["refused"][0]["detail"]


def test_a_visitor_may_only_be_named_with_the_key(up: Up, mark: str) -> None:
    status, headers, answer = up.post(view(mark, visitor="ann"))
    assert (status, headers["x-footfall-refused"]) == (403, "not_allowed")
    assert "Authorization: Bearer" in answer["refused"][0]["detail"]
    status, headers, answer = up.post(view(mark, visitor="ann"), {"Authorization": "Bearer wrong"})
    assert (status, headers["x-footfall-refused"]) == (403, "not_allowed")


def test_nul_and_lone_surrogates_and_unknown_fields_do_no_harm(up: Up, mark: str) -> None:
    body = (
        b'{"events": [{"site": "example.com", "type": "pageview", "url": "https://example.com%s/a", '
        b'"title": "a\\u0000b\\ud800c \\ud83d\\ude00", "props": {"k\\udfff": "v\\u0000w"}, "colour": {"deep": [1, 2]}, '
        b'"id": "\\ud800-%s"}, {"site": "example.com", "type": "pageview", "url": "https://example.com%s/b"}], '
        b'"unknown": [{}]}'
    ) % (mark.encode(), mark.encode(), mark.encode())
    status, _, answer = up.post(body)
    assert (status, answer["accepted"], answer["refused"]) == (202, 2, [])
    first, second = stored(up, mark, 2)
    assert "\0" not in first["title"]
    assert first["title"].startswith("a")
    assert first["title"].endswith("c \U0001f600")
    assert list(json.loads(first["props"]).values()) == ["vw"]
    assert second["title"] == ""
    assert up.api("breakdown", by="page", limit=1000)["rows"]


@pytest.mark.parametrize("text", ["\0" * 10, "x" * 5000, "'; DROP TABLE event_rows; --", "<script>alert(1)</script>"])
def test_hostile_texts_are_only_texts(up: Up, mark: str, text: str) -> None:
    event = view(f"{mark}?q={quote(text)}", title=text, referrer=text, name=text, language=text, screen=text, user=text)
    status, _, answer = up.post(event)
    assert (status, answer["accepted"]) == (202, 1), answer
    (row,) = stored(up, mark)
    assert len(row["title"]) <= 512
    status, page = up.get(f"/{SITE}")
    assert status == 200
    assert b"<script>alert" not in page


def test_the_same_event_again_is_a_duplicate_and_the_same_id_with_other_content_is_not(up: Up, mark: str) -> None:
    event = view(f"{mark}/a", id=f"id-{mark}")
    assert up.post(event)[2] == {"accepted": 1, "duplicates": 0, "refused": []}
    status, _, answer = up.post(event)
    assert (status, answer) == (202, {"accepted": 0, "duplicates": 1, "refused": []})
    assert up.post(view(f"{mark}/b", id=f"id-{mark}"))[2]["accepted"] == 1
    stored(up, mark, 2)
    metrics = fetch(f"{up.tracking}/metrics")[2].decode()
    assert 'footfall_events_total{outcome="duplicate",reason=""}' in metrics
    assert 'footfall_events_total{outcome="accepted",reason="id_reused"}' in metrics


def test_the_pixel_always_answers_with_a_picture(up: Up, mark: str) -> None:
    good = f"/collect.gif?site={SITE}&url={quote(f'https://{SITE}{mark}')}"
    for query, refused in (
        (good, None),
        (f"/collect.gif?site={SITE}", "missing_field"),
        ("/collect.gif", "missing_field"),
        (f"/collect.gif?site=unknown.example&url=https://{SITE}/", "unknown_site"),
        (f"/collect.gif?site={SITE}&url=%00%ff%fe", "invalid_url"),
    ):
        status, headers, body = fetch(up.tracking + query)
        assert (status, headers["content-type"]) == (200, "image/gif"), query
        assert body.startswith(b"GIF8")
        assert headers.get("x-footfall-refused") == refused, query
    stored(up, mark)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/collect", 405),
        ("DELETE", "/collect", 405),
        ("POST", "/collect.gif", 405),
        ("GET", "/nothing/here", 404),
        ("GET", "/beacon.unknown.js", 404),
        ("POST", "/collect/", 404),
    ],
)
def test_other_doors_are_shut_in_words(up: Up, method: str, path: str, status: int) -> None:
    found, _, body = fetch(up.tracking + path, b"{}" if method == "POST" else None, method=method)
    assert found == status
    assert body.strip()


def test_what_is_no_http_does_not_shut_the_service(up: Up, mark: str) -> None:
    address = urlsplit(up.tracking)
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    for nonsense in (tls, b"GET\r\n\r\n", b"POST /collect HTTP/1.1\r\n\r\n"):
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert up.post(view(mark))[2]["accepted"] == 1
    stored(up, mark)


def test_a_dead_letter_can_be_read_back_and_sent_again(up: Up, mark: str) -> None:
    """As an operator does: find it, mend it, send it."""
    broken = json.dumps(view(mark))[:-1].encode()
    assert up.post(broken)[0] == 400
    letters(up, broken)
    found = up.sql("SELECT base64Encode(bytes) AS b, topic FROM dead_letters ORDER BY received_at DESC LIMIT 1")[0]
    assert (base64.b64decode(found["b"]), found["topic"]) == (broken, "/collect")
    assert up.post(base64.b64decode(found["b"]) + b"}")[2]["accepted"] == 1
    stored(up, mark)


@pytest.mark.parametrize("zone", ["localtime", "posix/Japan", "right/Europe/Berlin", "Factory", "posixrules"])
def test_a_zone_that_only_some_libraries_know_is_refused_and_ends_nothing(up: Up, zone: str) -> None:
    for _ in range(2):  # once more: whoever answered is still there
        status, body = up.get(f"/api/v1/timeseries?site={SITE}&from=2025-06-01&to=2025-06-01&timezone={quote(zone)}")
        assert status == 400, body
        assert "is not known: give an IANA name" in json.loads(body)["error"]


def test_a_machine_without_a_zone_database_runs(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--site", SITE, env={"PYTHONTZPATH": ""}) as started:
        for zone in ("UTC", "Europe/Berlin"):
            assert started.api("timeseries", timezone=zone, interval="hour")["timezone"] == zone
