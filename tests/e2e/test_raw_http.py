"""Any bytes on either port: an answer that is 2xx or 4xx, in words, from processes that stay what they were."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import fuzz
from tests.e2e.harness import SITE, Up, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("raw") / "data", "--site", SITE) as started:
        before = set(started.group())
        yield started
        assert before <= set(started.group()), started.said()  # what answers SQL comes later
        assert "Traceback" not in started.said(), started.said()


@given(random=st.randoms(use_true_random=False), tracking=st.booleans())
@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
def test_odd_requests_are_answered_2xx_or_4xx_and_good_events_beside_bad_ones_are_taken(
    up: Up, random: Random, tracking: bool
) -> None:
    odd = fuzz.request(random, tracking)
    answered = fuzz.send(fuzz.addresses(up)[tracking], odd)
    assert not fuzz.wrong(odd, answered), (odd, answered)


def a_batch(bad: str) -> bytes:
    good = json.dumps(fuzz.GOOD)
    return f'{{"events":[{good},{bad},{good}]}}'.encode()


@pytest.mark.parametrize(
    "bad",
    [
        '{"site":"example.com","type":"pageview","url":"https://example.com/","\\ud800":1}',
        '{"site":"example.com","type":"pageview","url":"https://example.com/","x":{"\\ud800":["\\udfff"]}}',
        '{"site":"example.com","type":"pageview","url":"https://example.com/","props":{"\\ud800":"\\ud800"}}',
        '{"site":"example.com","type":"search","url":"https://example.com/","search":{"\\ud800":1,"term":"\\ud800"}}',
        '{"site":"\\ud800","type":"\\ud800","url":"\\ud800","id":"\\ud800","ts":"\\ud800"}',
        '{"title":"\\ud800","props":' + '{"a":' * 600 + "1" + "}" * 600 + "}",
        '{"site":"example.com","type":"pageview","url":"https://example.com/","props":{"a":' + "9" * 5000 + "}}",
        '"\\ud800"',
    ],
    ids=lambda bad: bad[:20] + "…" + bad[-20:],
)
def test_neighbours_of_an_event_with_lone_surrogates_or_too_much_of_anything_are_kept(up: Up, bad: str) -> None:
    status, _, answer = up.post(a_batch(bad))
    assert (status, answer["accepted"] >= 2) == (202, True), answer


CHUNKED = b"POST /sql HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
ROUGH = {
    "a chunk's size that is no number": CHUNKED + b"zz\r\nSELECT 1\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\nSELECT 1\r\n0\r\n\r\n",
    "a chunk of more than there is": CHUNKED + b"7fffffffffffffff1\r\nSELECT 1\r\n0\r\n\r\n" + bytes(2 << 20),
    "a length of 5,000 digits": b"POST /sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    + b"9" * 5000
    + b"\r\n\r\n",
    "an unknown coding": CHUNKED.replace(b"chunked", b"brotli, chunked") + b"0\r\n\r\n",
    "a SCRIPT_NAME": b"GET /ready HTTP/1.1\r\nHost: localhost\r\nSCRIPT_NAME: /x\r\nConnection: close\r\n\r\n",
    "a PATH_INFO": b"GET /ready HTTP/1.1\r\nHost: localhost\r\nPATH_INFO: /x\r\nConnection: close\r\n\r\n",
    "parameters with names of arguments": (
        b"GET /example.com?site=x&endpoint=y&_scheme=z&_external=1&_anchor=a HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ),
    "a websocket": (
        b"GET /ready HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
}


@pytest.mark.parametrize("tracking", [True, False])
@pytest.mark.parametrize("sent", ROUGH.values(), ids=ROUGH.keys())
def test_rough_requests_are_answered_without_a_5xx(up: Up, sent: bytes, tracking: bool) -> None:
    with socket.create_connection(fuzz.addresses(up)[tracking], timeout=60) as connection:
        connection.sendall(sent)
        status = int(connection.recv(65536).split(b" ")[1])
    assert 200 <= status < 500
