"""Webhooks over a real server: signed as Standard Webhooks says, to public addresses and allowed networks alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading

import pytest

from infra.webhook import Unposted, post, sign
from tests.mailbox import free_port
from tests.sink import Sink, serving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HERE = ("127.0.0.0/8", "::1/128")


def test_the_signature_is_the_hmac_of_name_time_and_body() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = hmac.digest(key, b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}', hashlib.sha256)
    signed = sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == f"v1,{base64.b64encode(made).decode()}" == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_post_arrives_with_a_signature_that_holds() -> None:
    sink = Sink(free_port())
    with serving(sink):
        post(f"http://127.0.0.1:{sink.port}/hook?a=b", SECRET, "msg_1", {"text": "größer"}, HERE)
    [(path, headers, body)] = sink.posts
    assert (path, json.loads(body), headers["content-type"]) == ("/hook?a=b", {"text": "größer"}, "application/json")
    assert headers["host"] == f"127.0.0.1:{sink.port}"
    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-signature"] == sign(SECRET, "msg_1", int(headers["webhook-timestamp"]), body)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_another_answer_is_a_failure_and_no_redirect_is_followed(status: int) -> None:
    sink = Sink(free_port())
    sink.status = status
    with serving(sink), pytest.raises(Unposted, match=f"answers {status}"):
        post(f"http://127.0.0.1:{sink.port}/", SECRET, "msg_1", {}, HERE)
    assert len(sink.posts) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0",
        "[::ffff:10.0.0.1]", "[fe80::1]", "[fd00::1]", "100.64.0.1", "224.0.0.1", "2130706433", "0x7f000001",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused_before_anything_is_sent(host: str) -> None:
    sink = Sink(free_port())
    with serving(sink), pytest.raises(Unposted, match="not public"):
        post(f"http://{host}:{sink.port}/", SECRET, "msg_1", {}, ("198.51.100.0/24",))
    assert sink.posts == []


def test_a_name_that_is_not_known_and_a_port_that_is_closed_are_told() -> None:
    with pytest.raises(Unposted, match="cannot be reached"):
        post("http://nothing.invalid/", SECRET, "msg_1", {})
    with pytest.raises(Unposted, match="cannot be reached"):
        post(f"http://127.0.0.1:{free_port()}/", SECRET, "msg_1", {}, HERE)
    sink = Sink(free_port())
    with serving(sink), pytest.raises(Unposted, match="cannot be reached"):
        post(f"https://127.0.0.1:{sink.port}/", SECRET, "msg_1", {}, HERE)


def test_a_target_that_answers_byte_by_byte_is_cut_off() -> None:
    gone = threading.Event()

    def drip(server: socket.socket) -> None:
        connected, _ = server.accept()
        with connected:
            try:
                while True:
                    connected.sendall(b"H")
                    gone.wait(0.05)
            except OSError:
                gone.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        with pytest.raises(Unposted, match=r"no whole answer in 0\.5 s"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", SECRET, "msg_1", {}, HERE, seconds=0.5)
        assert gone.wait(60)
        thread.join()
