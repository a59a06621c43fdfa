"""Clients of lines behind trusted proxies: no text that a client sends makes another one of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.client import Proxies
from ingest.logs import formats
from ingest.logs.formats import Request
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


def nginx(own: str, passed_on: str) -> str:
    return f'{own} - - [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 "-" "{AGENT}" "{passed_on}"'


def of_json(own: str, passed_on: str) -> str:
    fields = {"time": "2025-06-01T12:00:00Z", "remote_addr": own, "http_x_forwarded_for": passed_on}
    return json.dumps(fields | {"request": "GET /a HTTP/1.1", "status": 200, "http_user_agent": AGENT})


SHAPES = [("combined", combined), ("combined", first), (NGINX, nginx), ("json", of_json)]
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


@given(st.sampled_from(SHAPES[2:]), SENT)
def test_what_a_client_sends_itself_makes_no_other_one_of_it(shape: tuple[str, object], sent: str) -> None:
    name, line = shape
    assert callable(line)
    with trusting(PROXIES):
        assert client(name, line("10.0.0.5", f"{sent}, 192.0.2.1, 203.0.113.7")) == "192.0.2.1"


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
