"""A line of a log, a request; and what makes a request a page view."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import access_log
from infra.access_log import Request

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NOON = 1_748_779_200_000  # 2025-06-01T12:00:00Z
HEAD = "203.0.113.7 - - [01/Jun/2025:12:00:00 +0000]"

UNDERSTOOD = {
    f'{HEAD} "GET /a?q=x HTTP/1.1" 200 12 "https://b.example/" "{AGENT}"': Request(
        "203.0.113.7", NOON, "GET", "/a?q=x", 200, "https://b.example/", AGENT
    ),
    f'{HEAD} "GET / HTTP/1.1" 200 -': Request("203.0.113.7", NOON, "GET", "/", 200, "", None),
    f'{HEAD} "GET / HTTP/2.0" 304 0 "-" "-"': Request("203.0.113.7", NOON, "GET", "/", 304, "", ""),
    '2001:db8::1 - ann [01/Jun/2025:14:30:00 +0230] "GET / HTTP/1.1" 200 1': Request(
        "2001:db8::1", NOON, "GET", "/", 200, "", None
    ),
    f'{HEAD} "GET /two words HTTP/1.1" 200 1': Request("203.0.113.7", NOON, "GET", "/two words", 200, "", None),
    f'{HEAD} "GET http://example.com/x HTTP/1.1" 200 1': Request("203.0.113.7", NOON, "GET", "/x", 200, "", None),
    f'{HEAD} "GET /" 200 1': Request("203.0.113.7", NOON, "GET", "/", 200, "", None),
    rf'{HEAD} "\x16\x03\x01" 400 0 "-" "-"': Request("203.0.113.7", NOON, "\x16\x03\x01", "", 400, "", ""),
    f'{HEAD} "-" 408 0 "-" "-"': Request("203.0.113.7", NOON, "-", "", 408, "", ""),
    rf'{HEAD} "GET /\xc3\xa9\"x HTTP/1.1" 200 1 "-" "a \"b\" \\ c"': Request(
        "203.0.113.7", NOON, "GET", '/é"x', 200, "", r'a "b" \ c'
    ),
}

NOT_UNDERSTOOD = [
    "",
    "hello",
    f'{HEAD} "GET / HTTP/1.1" - -',
    f'{HEAD} "GET / HTTP/1.1',
    '203.0.113.7 - - [01/Foo/2025:12:00:00 +0000] "GET / HTTP/1.1" 200 1',
    '203.0.113.7 - - [31/Feb/2025:12:00:00 +0000] "GET / HTTP/1.1" 200 1',
    '203.0.113.7 - - [01/Jun/2025] "GET / HTTP/1.1" 200 1',
    "\x00" * 40,
]

JSON_NOON = Request("203.0.113.7", NOON, "GET", "/a?q=x", 200, "https://b.example/", AGENT, "example.com")


@pytest.mark.parametrize("line", UNDERSTOOD)
def test_a_combined_or_common_line_is_understood(line: str) -> None:
    assert access_log.combined(line) == UNDERSTOOD[line]


@pytest.mark.parametrize("line", NOT_UNDERSTOOD)
def test_a_broken_line_is_not_understood_and_raises_nothing(line: str) -> None:
    assert access_log.combined(line) is None
    assert access_log.json(line) is None


@pytest.mark.parametrize(
    "time",
    [
        '"time_iso8601":"2025-06-01T14:00:00+02:00"',
        '"time_local":"01/Jun/2025:12:00:00 +0000"',
        '"msec":"1748779200.000"',
        '"msec":1748779200.000',
        '"@timestamp":"2025-06-01T12:00:00Z"',
    ],
)
@pytest.mark.parametrize(
    "request_", ['"request":"GET /a?q=x HTTP/1.1"', '"request_method":"GET","uri":"/a","args":"q=x"']
)
def test_json_as_nginx_writes_it(time: str, request_: str) -> None:
    line = (
        f'{{"remote_addr":"203.0.113.7",{time},{request_},"status":"200","body_bytes_sent":12,'
        f'"http_referer":"https://b.example/","http_user_agent":"{AGENT}","host":"example.com"}}'
    )
    assert access_log.json(line) == JSON_NOON


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"remote_addr":"203.0.113.7","status":200,"request":"GET / HTTP/1.1"}',
        '{"remote_addr":"203.0.113.7","time_iso8601":"2025-06-01T12:00:00","status":200,"request":"GET / HTTP/1.1"}',
        '{"time_iso8601":"2025-06-01T12:00:00Z","status":200,"request":"GET / HTTP/1.1"}',
        '{"remote_addr":"203.0.113.7","time_iso8601":"2025-06-01T12:00:00Z","status":"-","request":"GET / HTTP/1.1"}',
    ],
    ids=["no object", "nothing in it", "no time", "no zone", "no address", "no status"],
)
def test_json_without_what_is_needed_is_not_understood(line: str) -> None:
    assert access_log.json(line) is None


@pytest.mark.parametrize(
    ("method", "target", "status", "refusal"),
    [
        ("GET", "/", 200, None),
        ("GET", "/", 304, None),
        ("GET", "/", 206, None),
        ("GET", "/page.html", 200, None),
        ("GET", "/v1.2/notes", 200, None),
        ("GET", "/index.php?file=a.png", 200, None),
        ("GET", "/logo.PNG?v=3", 200, "asset"),
        ("GET", "/robots.txt", 200, "asset"),
        ("GET", "/feed.xml", 200, "asset"),
        ("GET", "/moved", 301, "status"),
        ("GET", "/missing", 404, "status"),
        ("GET", "/broken", 500, "status"),
        ("POST", "/form", 200, "method"),
        ("HEAD", "/", 200, "method"),
        ("-", "", 408, "method"),
    ],
)
def test_what_is_a_page_view(method: str, target: str, status: int, refusal: str | None) -> None:
    assert access_log.refusal(Request("203.0.113.7", NOON, method, target, status, "", AGENT)) == refusal


def test_the_format_is_told_from_the_first_lines() -> None:
    combined = f'{HEAD} "GET / HTTP/1.1" 200 1 "-" "{AGENT}"'.encode()
    common = f'{HEAD} "GET / HTTP/1.1" 200 1'.encode()
    nginx = b'{"remote_addr":"203.0.113.7","msec":1748779200.0,"request":"GET / HTTP/1.1","status":200}'
    event = b'{"type":"pageview","url":"https://example.com/","ts":1748779200000,"visitor":"ann"}'
    assert access_log.detect([b"junk", combined]) == "combined"
    assert access_log.detect([common, common]) == "common"
    assert access_log.detect([common, common, combined]) == "combined"
    assert access_log.detect([nginx]) == "json"
    assert access_log.detect([event, b"{"]) == "events"
    assert access_log.detect([b"\x00\xff", b"{", b""]) is None


def test_every_asset_is_named_in_the_readme() -> None:
    """Whoever wonders why a line was refused finds the list where the import is explained."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(access_log.ASSETS) if f"`{name}`" not in readme] == []
