"""Tokens that live for seconds, and for a while none is to be had: nothing is lost, and nobody has to restart anything.

The tokens of a real Kafka's OAUTHBEARER come from a provider of the test's own. Each is renewed before it expires;
once the provider refuses, the broker ends the connection with the last token, and publishing says why it fails.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from brokers import connect
from tests.brokers.publishing import Publishing
from tests.e2e.harness import until
from tests.load import Load, read_kafka
from tests.require import require
from tests.servers import kafka_secured as part

pytestmark = [pytest.mark.real, pytest.mark.slow]

LIFE = 5.0  # seconds of a token


class Provider:
    """Gives everybody an unsigned token in the name of `admin`, as long as it `gives` any."""

    def __init__(self) -> None:
        self.gives = True
        self.given = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer = json.dumps({"access_token": _token(), "expires_in": LIFE}).encode()
                self.send_response(200 if provider.gives else 401)
                provider.given += provider.gives
                self.send_header("Content-Length", str(len(answer) if provider.gives else 0))
                self.end_headers()
                if provider.gives:
                    self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def _token() -> str:
    now = time.time()
    parts = ({"alg": "none"}, {"sub": "admin", "iat": now - 1, "exp": now + LIFE})
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


@contextmanager
def providing() -> Iterator[Provider]:
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        provider.server.server_close()
        thread.join()


def test_tokens_expire_and_for_a_while_there_is_none(tmp_path: Path, say: Callable[[str], None]) -> None:
    missing = part.available()
    require("kafka", not missing, missing)
    with ExitStack() as stack:
        stack.callback(part.server(tmp_path).stop)
        address = part.start(tmp_path, port=0)
        provider = stack.enter_context(providing())
        authority = part.files(tmp_path).ca
        where = f"tls=true&ca={authority}&oidc=http://127.0.0.1:{provider.server.server_port}/token"
        loads = {}
        for client in ("confluent", "kafka-python"):
            url = f"kafka://{address}?sasl=OAUTHBEARER&{where}&timeout_ms=5000&client={client}"
            broker = connect(url, {"username": "footfall", "password": "of the provider"})
            stack.callback(broker.close)
            broker.create_topic(f"token-{client}", 4)
            publishing = Publishing(broker, f"token-{client}")
            loads[client] = (publishing, stack.enter_context(Load(publishing, batch=5)))

        def each(what: Callable[[Load], None]) -> None:
            for _, load in loads.values():
                what(load)

        given = provider.given
        until(lambda: provider.given >= given + 6, "tokens are renewed")
        each(lambda load: load.more(300))
        provider.gives = False
        each(lambda load: load.refusals(12))
        acked = [load.acked for _, load in loads.values()]
        each(lambda load: load.refusals(6))
        assert [load.acked for _, load in loads.values()] == acked
        for publishing, _ in loads.values():
            assert any("token" in reason for reason in publishing.reasons), publishing.reasons
        provider.gives = True
        each(lambda load: load.more(300))
        each(Load.end)
        login = {
            "security.protocol": "SASL_SSL", "ssl.ca.location": str(authority), "sasl.mechanism": "PLAIN",
            "sasl.username": "admin", "sasl.password": part.PASSWORD,
        }  # fmt: skip
        for client, (publishing, load) in loads.items():
            figures = load.judge(read_kafka(address, f"token-{client}", publishing.decode, login))
            say(f"Tokens of Kafka expire, and for a while there is none ({client}): {figures}")
