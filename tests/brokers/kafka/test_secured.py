"""A Kafka that asks who is there: TLS, each SASL mechanism and ACLs, on a real one, by both client libraries."""

from __future__ import annotations

import base64
import gc
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs

import pytest

from brokers import connect
from brokers.base import BadCredentials, Broker, NotAllowed, Record, Refused, TopicPartition, Unreachable, Untrusted
from brokers.conformance import numbered, numbers, read_all
from brokers.kafka.settings import parse
from tests.patience import patient
from tests.require import require
from tests.servers import kafka_secured

pytestmark = pytest.mark.real

ADMIN = {"username": "admin", "password": kafka_secured.PASSWORD}
GUEST = {"username": "guest", "password": kafka_secured.PASSWORD}


class Secured(NamedTuple):
    sasl: str
    mutual: str
    files: kafka_secured.Files


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    missing = kafka_secured.available()
    require("Kafka", not missing, missing)
    folder = tmp_path_factory.mktemp("secured")
    try:
        address = kafka_secured.start(folder, port=0)
        yield Secured(address, kafka_secured.mutual(folder), kafka_secured.files(folder))
    finally:
        kafka_secured.server(folder).stop()


@pytest.fixture(params=["confluent", "kafka-python"])
def options(request: pytest.FixtureRequest, secured: Secured) -> str:
    return f"client={request.param}&timeout_ms={round(patient(10_000))}&tls=true&ca={secured.files.ca}"


def token(user: str, expires: float) -> str:
    """A JSON Web Token as nobody should believe it: unsigned."""
    parts = ({"alg": "none"}, {"sub": user, "iat": time.time() - 10, "exp": expires})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def round_trip(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 2)
    broker.publish(numbered(topic, 0, 5, 1))
    found = read_all(broker, topic, 1)
    assert numbers(found) == [0, 1, 2, 3, 4]
    broker.remember("footfall-secured", TopicPartition(topic, 1), found[2].position)
    assert broker.recall("footfall-secured", TopicPartition(topic, 1)) == found[2].position
    broker.delete_topic(topic)


def refused(kind: type[Refused], url: str, secrets: dict[str, str]) -> str:
    """What it says; it has to come within its bound, and without a secret in it."""
    broker = connect(url, secrets)
    start = time.monotonic()
    try:
        with pytest.raises(kind) as caught:
            broker.ping(2.0)
    finally:
        broker.close()
    assert time.monotonic() - start < patient(20)  # bounded; the bound itself is 2 s, and the machine may be busy
    gc.collect()
    said = str(caught.value)
    for secret in (secrets.get("password"), secrets.get("token")):
        assert not secret or secret not in said
    return said


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_with_a_password_is_let_in_and_a_wrong_one_is_named(
    mechanism: str, options: str, secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"kafka://{secured.sasl}?sasl={mechanism}&{options}"
    broker = connect(url, ADMIN)
    try:
        round_trip(broker, f"secured-{mechanism}-{time.time_ns()}")
    finally:
        broker.close()
    said = refused(BadCredentials, url, ADMIN | {"password": "wrong-but-secret"})
    assert "'admin'" in said and "check the user name and the password" in said
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert kafka_secured.PASSWORD not in logged and "wrong-but-secret" not in logged


def test_a_token_is_let_in_and_an_expired_one_is_named(options: str, secured: Secured) -> None:
    url = f"kafka://{secured.sasl}?sasl=OAUTHBEARER&{options}"
    broker = connect(url, {"token": token("admin", time.time() + 600)})
    try:
        round_trip(broker, f"secured-token-{time.time_ns()}")
    finally:
        broker.close()
    assert "has expired" in refused(BadCredentials, url, {"token": token("admin", time.time() - 600)})
    assert "the token" in refused(BadCredentials, url, {"token": "not-a-token"})


class _Provider(BaseHTTPRequestHandler):
    """An OpenID Connect provider's token endpoint, as far as a client needs it."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        known = form["client_secret"] == ["right"] and form["grant_type"] == ["client_credentials"]
        answer = {"access_token": token("admin", time.time() + 600), "expires_in": 600} if known else {"error": "no"}
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base names it
        return


def test_a_token_is_fetched_from_a_provider(options: str, secured: Secured) -> None:
    with HTTPServer(("127.0.0.1", 0), _Provider) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"kafka://{secured.sasl}?sasl=OAUTHBEARER&oidc=http://127.0.0.1:{server.server_port}/token&{options}"
        broker = connect(url, {"username": "us", "password": "right"})
        try:
            round_trip(broker, f"secured-oidc-{time.time_ns()}")
        finally:
            broker.close()
        assert "gives no token for us" in refused(BadCredentials, url, {"username": "us", "password": "wrong-secret"})
        server.shutdown()
        thread.join()


def test_a_client_certificate_is_let_in_and_its_lack_is_named(options: str, secured: Secured) -> None:
    own = f"certificate={secured.files.certificate}&key={secured.files.key}"
    broker = connect(f"kafka://{secured.mutual}?{options}&{own}")
    try:
        round_trip(broker, f"secured-mutual-{time.time_ns()}")
    finally:
        broker.close()
    assert "give certificate=FILE" in refused(Untrusted, f"kafka://{secured.mutual}?{options}", {})


def test_an_unknown_authority_is_named(options: str, secured: Secured) -> None:
    wrong = options.replace(str(secured.files.ca), str(secured.files.stranger))
    assert "give ca=FILE" in refused(Untrusted, f"kafka://{secured.sasl}?sasl=PLAIN&{wrong}", ADMIN)


def test_a_plain_client_on_a_tls_port_is_told(options: str, secured: Secured) -> None:
    client = options.partition("&")[0]
    broker = connect(f"kafka://{secured.sasl}?{client}&timeout_ms=1000")
    try:
        with pytest.raises(Unreachable, match="needs tls=true"):
            broker.ping(1.0)
    finally:
        broker.close()


def test_who_may_not_is_told_what_to_ask_for(options: str, secured: Secured) -> None:
    url = f"kafka://{secured.sasl}?sasl=PLAIN&{options}"
    topic = f"secured-acl-{time.time_ns()}"
    admin, guest = connect(url, ADMIN), connect(url, GUEST)
    try:
        admin.create_topic(topic, 1)
        assert guest.ping(3.0)
        for ask in (
            lambda: guest.create_topic(topic + "-more", 1),
            lambda: guest.publish([Record(topic, b"k", b"v")]),
            lambda: guest.bounds(TopicPartition(topic, 0)),
        ):
            with pytest.raises(NotAllowed, match=r"'guest' may not do this.*ACL"):
                ask()
        admin.delete_topic(topic)
    finally:
        guest.close()
        admin.close()


def test_settings_do_not_show_their_secrets(secured: Secured) -> None:
    settings = parse(
        f"kafka://me:hunter2@h?sasl=PLAIN&tls=true&ca={secured.files.ca}", {"password": "hunter3", "token": "hunter4"}
    )
    assert "hunter" not in f"{settings!r} {settings} {settings.shown}"
