"""Clients of lines behind trusted proxies: no text that a client sends makes another one of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.client import Proxies
from ingest.logs import formats
from ingest.logs.client import Client, client_of
from ingest.logs.formats import NotUnderstood, Request
from ingest.logs.trust import trusting
from tests.ingest.logs.plainly import SITE, together

PROXIES = ("10.0.0.0/8", "203.0.113.0/24", "2001:db8:ffff::/48")
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NGINX = (
    'layout $remote_addr - $remote_user [$time_local] "$request" $status "$http_referer" "$http_user_agent" '
    '"$http_x_forwarded_for"'
)


def combined(own: str, passed_on: str) -> str:
    return f'{own} - - [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "{AGENT}" "{passed_on}"'


def first(own: str, passed_on: str) -> str:
    """The chain where the client stands."""
    chain = ", ".join(filter(None, (passed_on if passed_on != "-" else "", own)))
    return f'{chain} - - [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "{AGENT}"'


def apart(own: str, passed_on: str) -> str:
    """The chain where the client stands, and the line's own address behind it."""
    return f'{passed_on} {own} - - [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "{AGENT}"'


def quoted(own: str, passed_on: str) -> str:
    return f'"{passed_on}" {own} - ann [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "{AGENT}"'


def nginx(own: str, passed_on: str) -> str:
    return f'{own} - - [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 "-" "{AGENT}" "{passed_on}"'


def of_json(own: str, passed_on: str) -> str:
    fields = {"time": "2025-06-01T12:00:00Z", "remote_addr": own, "http_x_forwarded_for": passed_on}
    return json.dumps(fields | {"request": "GET /a HTTP/1.1", "status": 200, "http_user_agent": AGENT})


BEFORE = [("combined", first), ("combined", apart), ("combined", quoted)]
SHAPES = [("combined", combined), *BEFORE, (NGINX, nginx), ("json", of_json)]
CASES = [  # the line's own address, what was passed on, the client
    ("10.0.0.5", "192.0.2.1", "192.0.2.1"),
    ("10.0.0.5", "192.0.2.66, 192.0.2.1", "192.0.2.1"),
    ("10.0.0.5", "192.0.2.66, 192.0.2.1, 203.0.113.7", "192.0.2.1"),
    ("203.0.113.7", "192.0.2.66, 192.0.2.1:51000", "192.0.2.1"),
    ("2001:db8:ffff::1", "192.0.2.66, 2001:db8::7", "2001:db8::7"),
    ("192.0.2.9", "192.0.2.66", "192.0.2.9"),  # not passed on by anybody who is listed
    ("192.168.1.5", "192.0.2.66", "192.168.1.5"),
    ("10.0.0.5", "172.16.0.9", "172.16.0.9"),  # a colleague in the office
    ("10.0.0.5", "10.0.0.9, 203.0.113.7", "10.0.0.9"),
    ("10.0.0.5", "-", "10.0.0.5"),
]


def client(shape: str, line: str) -> str:
    found = formats.parser(shape)(line)
    assert isinstance(found, Request)
    return found.ip


@pytest.mark.parametrize(("shape", "line"), SHAPES)
@pytest.mark.parametrize(("own", "passed_on", "expected"), CASES)
def test_the_last_of_a_chain_that_is_no_proxy_is_the_client(
    shape: str, line: object, own: str, passed_on: str, expected: str
) -> None:
    assert callable(line)
    with trusting(PROXIES):
        assert client(shape, line(own, passed_on)) == expected


@pytest.mark.parametrize("line", [combined, first, of_json])
def test_without_proxies_the_first_public_one_is(line: object) -> None:
    assert callable(line)
    assert client("json" if line is of_json else "combined", line("10.0.0.5", "192.0.2.66, 192.0.2.1")) == "192.0.2.66"


ADDRESSES = st.sampled_from(["192.0.2.1", "198.51.100.7", "10.0.0.9", "203.0.113.4", "127.0.0.1", "2001:db8::7"])
CHAINS = st.lists(ADDRESSES, min_size=1, max_size=5)


@given(st.sampled_from(SHAPES), ADDRESSES, CHAINS)
def test_a_log_has_the_client_that_the_front_door_would_have(
    shape: tuple[str, object], own: str, chain: list[str]
) -> None:
    name, line = shape
    assert callable(line)
    headers = [(b"x-forwarded-for", ", ".join(chain).encode())]
    with trusting(PROXIES):
        assert client(name, line(own, ", ".join(chain))) == Proxies(PROXIES).client(own, headers)


SENT = st.text(st.characters(codec="ascii", exclude_characters='"\\\r\n\0'), max_size=1_500)


@given(st.sampled_from(SHAPES), SENT)
@example(("combined", apart), "8.8.8.8 - -")
@example(("combined", apart), "8.8.8.8 - x")
@example(("combined", apart), "8.8.8.8 -")
@example(("combined", apart), "8.8.8.8 example.com")
@example(("combined", apart), "Feb  5 12:00:00 x: 8.8.8.8 - -")
@example(("combined", apart), "8.8.8.8 - - [01/Jun/2025:12:00:00 +0000]")
@example(("combined", apart), "[01/Jun/2025:12:00:00 +0000] 8.8.8.8 " * 4)
@example(("combined", first), "8.8.8.8 - -")
@example(("combined", quoted), "8.8.8.8 - - [1748779200]")
def test_what_a_client_sends_itself_makes_no_other_one_of_it(shape: tuple[str, object], sent: str) -> None:
    """Where the chain comes first, what is sent may look like the rest of the line: then that is not understood."""
    name, line = shape
    assert callable(line)
    with trusting(PROXIES):
        found = formats.parser(name)(line("10.0.0.5", f"{sent}, 192.0.2.1, 203.0.113.7"))
        assert found.ip == "192.0.2.1" if isinstance(found, Request) else shape in BEFORE
        texts = [line("10.0.0.5", f"{sent}, 192.0.2.1, 203.0.113.7").encode()] * 2
        together(texts, name, SITE, 5)


WORDS = st.sampled_from(
    ["8.8.8.8", "9.9.9.9,", "-", "ann", "Feb  5 12:00:00", "x:", "example.com", "[1748779200]", ","]
)


@given(st.sampled_from(BEFORE), st.lists(WORDS, max_size=8).map(" ".join))
def test_nor_does_what_looks_like_a_line(shape: tuple[str, object], sent: str) -> None:
    name, line = shape
    assert callable(line)
    with trusting(PROXIES):
        for own in ("192.0.2.1", "10.0.0.5"):
            found = formats.parser(name)(line(own, f"{sent}, 192.0.2.1" if own == "10.0.0.5" else sent or "-"))
            assert isinstance(found, NotUnderstood) or found.ip == "192.0.2.1"


@pytest.mark.parametrize("own", ["192.0.2.1", "10.0.0.5"])
@example(user="8.8.8.8 8.8.8.8 Feb  5 12:00:00 8.8.8.8 8.8.8.8")
@given(user=st.lists(WORDS, min_size=1, max_size=8).map(" ".join))
def test_nor_does_a_user(own: str, user: str) -> None:
    with trusting(PROXIES):
        found = formats.parser("combined")(combined(own, "192.0.2.1").replace(" - - ", f" - {user} "))
        assert isinstance(found, NotUnderstood) or found.ip == "192.0.2.1"


def test_nor_does_a_referrer() -> None:
    with trusting(PROXIES):
        assert client("common", combined("10.0.0.5", "192.0.2.1").replace('"-"', '"8.8.8.8"')) == "192.0.2.1"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("1.1.1.1 198.51.100.5 - -", Client("198.51.100.5", "")),
        ('"1.1.1.1" 198.51.100.5 - -', Client("198.51.100.5", "")),
        ("1.1.1.1, 9.9.9.9 198.51.100.5 - -", Client("198.51.100.5", "")),
        ("1.1.1.1, 9.9.9.9 10.0.0.5 - ann", Client("9.9.9.9", "")),
        ("1.1.1.1 198.51.100.5", Client("198.51.100.5", "")),
        ("10.0.0.5 - 8.8.8.8", Client("10.0.0.5", "")),
        ("10.0.0.5 192.0.2.1 - 8.8.8.8", Client("192.0.2.1", "")),
        ("10.0.0.5 - john doe", Client("10.0.0.5", "")),
        ("192.0.2.9 - [192.0.2.9] - ann", Client("192.0.2.9", "")),
        ("10.0.0.5 - [192.0.2.9] - ann", None),
        ("example.com:443 192.0.2.1, 203.0.113.7 10.0.0.5 - -", Client("192.0.2.1", "example.com")),
        ("192.0.2.1 example.com 10.0.0.5 - -", Client("192.0.2.1", "example.com")),
        ("192.0.2.1 example.com -", Client("192.0.2.1", "example.com")),
        ("127.0.1.1:443 10.0.0.5 - -", Client("10.0.0.5", "")),
        ("<190>Feb  5 12:00:00 10.1.1.1 nginx: 1.1.1.1 198.51.100.5 - -", Client("198.51.100.5", "")),
        ("10.0.0.1 - Feb  5 12:00:00 x: 8.8.8.8 - -", None),
        ("- - -", None),
    ],
)
def test_the_last_address_before_the_time_is_the_lines_own(head: str, expected: Client | None) -> None:
    with trusting(["10.0.0.0/8", "203.0.113.0/24"]):
        assert client_of(head) == expected


@pytest.mark.parametrize(("shape", "line"), SHAPES)
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_lines_give_what_each_gives_alone(shape: str, line: object, data: st.DataObject) -> None:
    assert callable(line)
    chains = st.just("-") | CHAINS.map(", ".join)
    lines = data.draw(st.lists(st.builds(line, ADDRESSES, chains), min_size=1, max_size=8))
    with trusting(PROXIES):
        together([f"{each}\n".encode() for each in lines], shape, SITE, 5)


def test_an_entry_that_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="not an address or network"), trusting(["balancer"]):
        pass
