"""A line of a log, a request; and what makes a request a page view."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingest.logs import formats
from ingest.logs.client import Client, client_of
from ingest.logs.formats import NotUnderstood, Request

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
    f'{HEAD} "GET http://EXAMPLE.com:80/x HTTP/1.1" 200 1': Request(
        "203.0.113.7", NOON, "GET", "/x", 200, "", None, "example.com"
    ),
    f'{HEAD} "GET http://example.com?q=x HTTP/1.1" 200 1': Request(
        "203.0.113.7", NOON, "GET", "/?q=x", 200, "", None, "example.com"
    ),
    f'{HEAD} "GET http://192.0.2.80/x HTTP/1.1" 200 1': Request("203.0.113.7", NOON, "GET", "/x", 200, "", None),
    f'{HEAD} "GET a?u=http://b.example/ HTTP/1.1" 200 1': Request(
        "203.0.113.7", NOON, "GET", "/a?u=http://b.example/", 200, "", None
    ),
    f'{HEAD} "GET * HTTP/1.1" 200 1': Request("203.0.113.7", NOON, "GET", "*", 200, "", None),
    f'{HEAD} "GET  /a  HTTP/1.1" 200 1': Request("203.0.113.7", NOON, "GET", "/a", 200, "", None),
    f'{HEAD} "GET /a 1.1" "200" "1"': Request("203.0.113.7", NOON, "GET", "/a", 200, "", None),
    rf'{HEAD} "GET /a\bb\vc HTTP/1.1" 200 1': Request("203.0.113.7", NOON, "GET", "/a\bb\vc", 200, "", None),
    f'"{HEAD} "GET / HTTP/1.1" 200 1 "-" "{AGENT}""': Request("203.0.113.7", NOON, "GET", "/", 200, "", AGENT),
    f'{HEAD} "GET / HTTP/1.1" 200 1 "-" "a ""b"" c"': Request("203.0.113.7", NOON, "GET", "/", 200, "", 'a "b" c'),
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
    assert formats.combined(line) == UNDERSTOOD[line]


@pytest.mark.parametrize("line", NOT_UNDERSTOOD)
def test_a_broken_line_is_not_understood_and_raises_nothing(line: str) -> None:
    assert isinstance(formats.combined(line), NotUnderstood)
    assert isinstance(formats.json(line), NotUnderstood)


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
    assert formats.json(line) == JSON_NOON


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"remote_addr":"203.0.113.7","status":200,"request":"GET / HTTP/1.1"}',
        '{"time_iso8601":"2025-06-01T12:00:00Z","status":200,"request":"GET / HTTP/1.1"}',
        '{"remote_addr":"203.0.113.7","time_iso8601":"2025-06-01T12:00:00Z","status":"-","request":"GET / HTTP/1.1"}',
        '{"remote_addr":"203.0.113.7","time_iso8601":"2025-06-01T12:00:00Z","status":"²","request":"GET / HTTP/1.1"}',
        '{"remote_addr":"203.0.113.7","msec":"inf","status":"200","request":"GET / HTTP/1.1"}',
        '{"remote_addr":"unix:","msec":1748779200.0,"status":"200","request":"GET / HTTP/1.1"}',
        '{"a":' * 40_000,
        '["\udcff"]',
    ],
    ids=["no object", "nothing in it", "no time", "no address", "no status", "a status that is no number",
         "endless time", "a socket", "deep", "no UTF-8"],
)
def test_json_without_what_is_needed_is_not_understood(line: str) -> None:
    assert isinstance(formats.json(line), NotUnderstood)
    formats.detect([line.encode("utf-8", "surrogateescape")])


def test_a_byte_of_json_that_is_no_utf8_is_kept() -> None:
    line = b'{"remote_addr":"::ffff:203.0.113.7","msec":1748779200.0,"status":200,"request":"GET /caf\xe9 HTTP/1.1"}'
    found = formats.json(formats.decoded(line))
    assert isinstance(found, Request)
    assert (found.ip, found.target) == ("203.0.113.7", "/caf\udce9")
    host = formats.json(formats.decoded(line.replace(b"{", b'{"host":"\xe9.example",')))
    assert isinstance(host, Request)
    assert host.host == "\ufffd.example"
    lone = formats.json(formats.decoded(line.replace(b"caf", rb"\ud800")))
    assert isinstance(lone, Request)
    assert lone.target == "/\ufffd\udce9"


@pytest.mark.parametrize(
    ("head", "client"),
    [
        ("192.0.2.1 - -", Client("192.0.2.1", "")),
        ("example.com:443 192.0.2.1 - -", Client("192.0.2.1", "example.com")),
        ("Example.COM. 192.0.2.1 - ann", Client("192.0.2.1", "example.com")),
        ("intranet:8080 192.0.2.1 - -", Client("192.0.2.1", "intranet")),
        ("localhost 192.0.2.1 - -", Client("192.0.2.1", "localhost")),
        ("- 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("web_1  | 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("Jun  1 12:00:00 web1.example.com nginx: 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("127.0.1.1:443 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("203.0.113.80:80 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("Feb  5 12:00:00 10.1.1.1 nginx: 203.0.113.1 - -", Client("203.0.113.1", "")),
        ("<190>Feb 15 12:00:00 10.1.1.1 local7 httpd[12]: example.com:80 203.0.113.1 - -",
         Client("203.0.113.1", "example.com")),
        ("<190>Feb  5 12:00:00 nginx: 203.0.113.1 - -", Client("203.0.113.1", "")),
        ("Feb  5 12:00:00 10.1.1.1 203.0.113.1 - -", Client("203.0.113.1", "")),
        ("messages:Feb  5 12:00:00 2001:db8::5 nginx: 203.0.113.1 - -", Client("203.0.113.1", "")),
        ("2025-06-01T12:00:00.123456+02:00 10.1.1.1 nginx: 203.0.113.1 - -", Client("203.0.113.1", "")),
        ("<190>1 2025-06-01T12:00:00+02:00 192.168.1.20 nginx 1 - - 203.0.113.5 - -", Client("203.0.113.5", "")),
        ('<190>1 2025-06-01T12:00:00Z 192.168.1.20 nginx 1 - [a@1 b="10.0.0.1"] 203.0.113.5 - -',
         Client("203.0.113.5", "")),
        ("Feb  5 12:00:00 10.1.1.1 nginx: unix: - -", None),
        ("<190>1 2025-06-01T12:00:00+02:00 192.168.1.20 nginx 1 - - unix: - -", None),
        ("Feb  5 12:00:00 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("Feb  5 12:00:00 web1.example.com 192.0.2.1 - -", Client("192.0.2.1", "web1.example.com")),
        ("2025-06-01T12:00:00Z 192.0.2.1 198.51.100.1 - -", Client("192.0.2.1", "")),
        ("2025-06-01T12:00:00Z 192.0.2.1 - ann: 198.51.100.1", Client("192.0.2.1", "")),
        ("192.0.2.1 198.51.100.1 - -", Client("192.0.2.1", "")),
        ("192.0.2.1 - 198.51.100.1", Client("192.0.2.1", "")),
        ("127.0.0.1 - -", Client("127.0.0.1", "")),
        ("192.0.2.1:443 - -", Client("192.0.2.1", "")),
        ("access.log.1:192.0.2.1 - -", Client("192.0.2.1", "")),
        ("access.log:12:192.0.2.1:51000 - -", Client("192.0.2.1", "")),
        ("access.log:2001:db8::1 - -", Client("2001:db8::1", "")),
        ("access.log:12:2001:db8::1 - -", Client("2001:db8::1", "")),
        ("access.log:[2001:db8::1]:51000 - -", Client("2001:db8::1", "")),
        ("access.log:::1 - -", Client("::1", "")),
        ("my access.log:192.0.2.1 - -", Client("192.0.2.1", "")),
        ("access.log:example.com:443 192.0.2.1 - -", Client("192.0.2.1", "example.com")),
        ("access.log:example.com 192.0.2.1 - -", Client("192.0.2.1", "example.com")),
        ("192.0.2.1, 198.51.100.1 - -", Client("192.0.2.1", "")),
        ("192.0.2.1,198.51.100.1 - -", Client("192.0.2.1", "")),
        ("unknown, 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("10.1.2.3, 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("10.1.2.3,192.0.2.1,10.0.0.1 - -", Client("192.0.2.1", "")),
        ("10.1.2.3, 10.0.0.1 - -", Client("10.1.2.3", "")),
        ("2025-06-01T12:00:01.123456789Z 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("2025-06-01T12:00:01.123456789Z stdout F example.com 192.0.2.1 - -", Client("192.0.2.1", "example.com")),
        ('"192.0.2.1, 198.51.100.1" - -', Client("192.0.2.1", "")),
        ("[2001:DB8::1]:51000 - -", Client("2001:db8::1", "")),
        ("access.log:2003:2a00:1450::1 - -", None),  # the line's number, or a part of the address
        ("Sun 2025-06-01 12:00:00 UTC 10.1.1.1 nginx[1]: 203.0.113.1 - -", Client("203.0.113.1", "")),
        ("1748779200.123456 10.1.1.1 nginx[1]: 203.0.113.1 - -", Client("203.0.113.1", "")),
        ("[   12.345678] 10.1.1.1 nginx[1]: 203.0.113.1 - -", Client("203.0.113.1", "")),
        ("1\t2025-06-01T12:00:00Z\t2025-06-01T12:00:01Z\t12\tw\t198.51.100.9\tLocal7\tInfo\tnginx\t203.0.113.1 - -",
         Client("203.0.113.1", "")),
        ("<190>1 2025-06-01T12:00:00Z 192.168.1.20 nginx 1 - - \ufeff203.0.113.5 - -", Client("203.0.113.5", "")),
        ("[192.0.2.1]:51000 - -", Client("192.0.2.1", "")),
        ("(192.0.2.1) - -", Client("192.0.2.1", "")),
        ('for="[2001:DB8::1]:4711";proto=https - -', Client("2001:db8::1", "")),
        ("10.0.0.5 192.0.2.1 - -", Client("192.0.2.1", "")),
        ("10.0.0.5 (192.0.2.1, 198.51.100.1) - -", Client("192.0.2.1", "")),
        ("10.0.0.5 - [192.0.2.1] - -", Client("192.0.2.1", "")),
        ("10.0.0.5 example.com 192.0.2.1 - -", Client("192.0.2.1", "example.com")),
        ("10.0.0.5 10.0.0.6 - -", Client("10.0.0.5", "")),
        ("10.0.0.5 - 8.8.8.8", Client("10.0.0.5", "")),  # users may be called anything
        ("10.0.0.5 - 8.8.8.8 ann", Client("10.0.0.5", "")),
        ("10.0.0.5 example.com 8.8.8.8", Client("10.0.0.5", "example.com")),
        ("example.com 192.168.1.10 - 8.8.8.8", Client("192.168.1.10", "example.com")),
        ("10.0.0.5 192.0.2.1 - 8.8.8.8", Client("192.0.2.1", "")),
        ("10.0.0.5 192.0.2.1", Client("192.0.2.1", "")),
        ("192.0.2.1 example.com:8080 -", Client("192.0.2.1", "example.com")),
        ("192.0.2.1 example.com ann", Client("192.0.2.1", "example.com")),
        ("192.0.2.1 - john.doe", Client("192.0.2.1", "")),
        ("192.0.2.1 1.5 -", Client("192.0.2.1", "")),
        ('"www.example.com" 192.0.2.1 - -', Client("192.0.2.1", "www.example.com")),
        ("vhost=www.example.com 192.0.2.1 - -", Client("192.0.2.1", "www.example.com")),
        ("www.example.com - 192.0.2.1 - -", Client("192.0.2.1", "www.example.com")),
        ("dialup.example.net - -", None),
        ("example.com:443 - -", None),
        ("- - -", None),
        ("", None),
    ],
)
def test_the_client_is_the_first_address_and_the_field_before_it_the_host(head: str, client: Client | None) -> None:
    assert client_of(head) == client


TAILS = {
    f'200 12 "https://b.example/" "{AGENT}"': ("https://b.example/", AGENT),
    f'200 12 0.012 "https://b.example/" "{AGENT}"': ("https://b.example/", AGENT),
    f'200 12 0.012 - "-" "{AGENT}" 0.1': ("", AGENT),
    f'200 12 "https://b.example/" 0.012 "{AGENT}"': ("https://b.example/", AGENT),
    f'200 12 "https://b.example/" "{AGENT}" "-"': ("https://b.example/", AGENT),
    f'200 12 "-" "{AGENT}" "192.0.2.8, 198.51.100.1"': ("", AGENT),
    f'200 12 "example.com" "-" "{AGENT}"': ("", AGENT),
    f'200 12 "example.com" "https://b.example/" "{AGENT}"': ("https://b.example/", AGENT),
    f'200 12 "-" "https://b.example/" "{AGENT}"': ("https://b.example/", AGENT),
    '200 12 "-" "-" "-"': ("", ""),
    f'200 12 "-" "-" "{AGENT}"': ("", AGENT),
    f'200 12 "203.0.113.9" "-" "{AGENT}"': ("", AGENT),
    f'200 12 "203.0.113.9, 10.0.0.1" "{AGENT}"': ("", AGENT),
    '200 12 "-" "-" "192.0.2.8"': ("", ""),
    '200 12 "-" "-" "example.com"': ("", ""),
    '200 12 "-" "Slackbot 1.0" "192.0.2.8"': ("", "Slackbot 1.0"),
    '200 12 "google.com" "-"': ("google.com", ""),
    '200 12 "google.com" "Slackbot 1.0"': ("google.com", "Slackbot 1.0"),
    f'200 12 "{AGENT}" "{AGENT}"': (AGENT, AGENT),
    f'200 12 "-" "{AGENT}" "unknown, 192.0.2.8"': ("", AGENT),
    f'200 12 "{AGENT}" "-"': None,
    f'200 12 "{AGENT}" "-" "-"': None,
    f'200 12 "{AGENT}" "example.com"': None,
    f'200 12 "{AGENT}" "HTTP/1.1"': None,
    f'200 12 "{AGENT}" "https://b.example/"': None,
    f'200 12 "{AGENT}" "192.0.2.8, 198.51.100.1"': None,
    '200 12 "https://b.example/" "192.0.2.8"': None,
    "200 12": ("", None),
    "200 12 0.012": ("", None),
    '200 12 "-"': None,
    f'200 12 "{AGENT}"': None,
    f'200 12 "one" "two" "{AGENT}"': None,
    f'200 12 "-" "{AGENT}': None,
    '200 12 "-" "a "b" c"': ("", 'a "b" c'),
    '200 12 "https://b.example/?"x"" "a "b""': ('https://b.example/?"x"', 'a "b"'),
    '200 12 "-" "a "b" "c"': None,
    f'200 "-" "{AGENT}"': None,
}


@pytest.mark.parametrize("tail", TAILS)
def test_referrer_and_agent_are_found_wherever_they_stand_or_the_line_is_not_understood(tail: str) -> None:
    found = formats.combined(f'{HEAD} "GET /a HTTP/1.1" {tail}')
    assert TAILS[tail] == ((found.referrer, found.agent) if isinstance(found, Request) else None)


@pytest.mark.parametrize(
    "line",
    [
        f'203.0.113.7  -  -  [01/Jun/2025:12:00:00 +0000]   "GET /a HTTP/1.1"  200  12  "-"  "{AGENT}"',
        f'203.0.113.7\t-\t-\t[01/Jun/2025:12:00:00\t+0000]\t"GET /a HTTP/1.1"\t200\t12\t"-"\t"{AGENT}"',
        f'{HEAD} 0.012 TLSv1.3 "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        f'{HEAD} "TLSv1.3" "GET /a HTTP/1.1" 200 12 0.1 b.example "-" "{AGENT}"',
        f'203.0.113.7 - - [01/Jun/2025:17:30:00 +05:30] "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        f'203.0.113.7 - - [2025-06-01T12:00:00+00:00] "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        f'203.0.113.7 - - [2025-06-01T12:00:00Z] "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        f'203.0.113.7 - - [2025-06-01 14:00:00 +0200] "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        f'203.0.113.7 - a[b] [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        f'203.0.113.7 - "a b [x" [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        f'[2025-06-01 11:59:59 +0000] [7] [INFO] {HEAD} "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        f'[01/Jun/2025:12:00:00 +0000] 203.0.113.7 "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"',
        *(
            f'203.0.113.7 - - [{time}] "GET /a HTTP/1.1" 200 12 "-" "{AGENT}"'
            for time in (
                "01/Jun/2025 12:00:00", "01/Jun/2025:12:00:00 UTC", "01/Jun/2025:12:00:00Z", "01-Jun-2025 12:00:00",
                "2025-06-01 12:00:00", "2025/06/01 12:00:00", "2025/06/01:12:00:00 +0000", "1748779200",
                "1748779200.000", "1748779200000", "Sun Jun  1 12:00:00 2025", "Sun Jun 01 12:00:00.000 2025",
                "Sun, 01 Jun 2025 12:00:00 GMT",
            )
        ),
    ],
)
def test_a_line_may_be_spaced_and_dated_otherwise(line: str) -> None:
    assert formats.combined(line) == Request("203.0.113.7", NOON, "GET", "/a", 200, "", AGENT)


def test_a_user_called_like_an_address_hides_no_client_that_was_passed_on() -> None:
    line = f'10.0.0.1 - 8.8.8.8 [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "{AGENT}" "203.0.113.7"'
    assert formats.combined(line) == Request("203.0.113.7", NOON, "GET", "/a", 200, "", AGENT)


@pytest.mark.parametrize("extra", ['] 0.012 example.com "', '] "example.com:443" "'])
def test_a_host_between_time_and_request_is_the_pages(extra: str) -> None:
    found = formats.combined(f'{HEAD} "GET /a HTTP/1.1" 200 12'.replace('] "', extra))
    assert found == Request("203.0.113.7", NOON, "GET", "/a", 200, "", None, "example.com")


@pytest.mark.parametrize(
    "word", ["index.html", "web01.internal", "nas.local", "router.lan:80", "style.css", "a.php", "v1.2", "a.PNG"]
)
def test_a_dotted_word_that_is_no_domain_is_no_host(word: str) -> None:
    for before, behind in ((f" {word}", ""), ("", f" {word}")):
        line = f'{HEAD}{before} "GET /a HTTP/1.1" 200 12{behind} "-" "{AGENT}"'
        assert formats.combined(line) == Request("203.0.113.7", NOON, "GET", "/a", 200, "", AGENT)
    for name in ("site", "domain", "server.address"):
        found = formats.json(json.dumps({
            "remote_addr": "203.0.113.7", "msec": NOON / 1_000, "request": "GET /a HTTP/1.1", "status": 200, name: word
        }))  # fmt: skip
        assert found == Request("203.0.113.7", NOON, "GET", "/a", 200, "", None)


def test_parts_of_a_second_count() -> None:
    for stamp in ("01/Jun/2025:12:00:00.1239 +0000", "2025-06-01T12:00:00.123Z"):
        found = formats.combined(f'203.0.113.7 - - [{stamp}] "GET /a HTTP/1.1" 200 12')
        assert isinstance(found, Request)
        assert found.at == NOON + 123


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
        ("GET", "/style.css;jsessionid=1A", 200, "asset"),
        ("GET", "/logo%2Ep%6Eg", 200, "asset"),
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
    assert formats.refusal(Request("203.0.113.7", NOON, method, target, status, "", AGENT)) == refusal


def test_the_format_is_told_from_the_first_lines() -> None:
    combined = f'{HEAD} "GET / HTTP/1.1" 200 1 "-" "{AGENT}"'.encode()
    common = f'{HEAD} "GET / HTTP/1.1" 200 1'.encode()
    nginx = b'{"remote_addr":"203.0.113.7","msec":1748779200.0,"request":"GET / HTTP/1.1","status":200}'
    event = b'{"type":"pageview","url":"https://example.com/","ts":1748779200000,"visitor":"ann"}'
    assert formats.detect([b"junk", combined]) == "combined"
    assert formats.detect([common, common]) == "common"
    assert formats.detect([common, common, combined]) == "combined"
    assert formats.detect([nginx]) == "json"
    assert formats.detect([event, b"{"]) == "events"
    assert formats.detect([b"\x00\xff", b"{", b""]) is None
    assert formats.detect([b'203.0.113.7 - - [01/Jun/2025:12:00:00 +0000] "GET / HTTP/1.1" 200 1 "-"']) is None


def test_every_asset_is_named_in_the_readme() -> None:
    """Whoever wonders why a line was refused finds the list where the import is explained."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(formats.ASSETS) if f"`{name}`" not in readme] == []
