"""What only Pulsar can do wrong: forgetting by its defaults, tokens and TLS, text where bytes belong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from brokers import connect
from brokers.base import BadCredentials, Broker, NotAllowed, Record, Refused, Untrusted
from brokers.conformance import numbered, numbers, read_all
from brokers.pulsar.client import pack, unpack
from brokers.pulsar.settings import parse
from tests.brokers.conftest import Idle
from tests.require import require
from tests.servers import kafka_secured, pulsar_secured


@pytest.mark.real
@pytest.mark.slow
def test_records_are_published_and_left_alone(idle: Idle) -> None:
    """Early, so that `test_forgets.py`, which comes last, need not wait."""
    assert idle.topic


class Secured(NamedTuple):
    """A Pulsar that asks who one is. `url` names its authority."""

    folder: Path
    url: str


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    missing = pulsar_secured.available()
    require("pulsar", not missing, missing)
    folder = tmp_path_factory.mktemp("secured")
    try:
        service, _, admin = pulsar_secured.start(folder, 0).partition("?")
        ca = kafka_secured.files(folder).ca
        yield Secured(folder, f"pulsar+ssl://{service}/public/secured?{admin}&ca={ca}&timeout_ms=5000")
    finally:
        pulsar_secured.server(folder).stop()


def written_and_read(broker: Broker) -> list[int]:
    try:
        broker.create_topic("secured", 2)
        broker.publish(numbered("secured", 0, 3))
        return numbers(read_all(broker, "secured"))[-3:]
    finally:
        broker.close()


@pytest.mark.real
@pytest.mark.slow
def test_a_token_opens_the_broker_over_tls(secured: Secured) -> None:
    token = pulsar_secured.token(secured.folder, "admin")
    broker = connect(secured.url, {"token": token})
    assert broker.ping().startswith("Pulsar 4.")
    assert token not in broker.url
    assert written_and_read(broker) == [0, 1, 2]


@pytest.mark.real
@pytest.mark.slow
def test_a_client_certificate_opens_it_too(secured: Secured) -> None:
    found = kafka_secured.files(secured.folder)
    broker = connect(f"{secured.url}&certificate={found.certificate}&key={found.key}")
    assert written_and_read(broker) == [0, 1, 2]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "role", "seconds"),
    [(BadCredentials, "admin", -60), (BadCredentials, "", 60), (NotAllowed, "guest", 60)],
    ids=["expired", "none", "of-another-role"],
)
def test_a_token_that_is_no_good_is_named(secured: Secured, kind: type[Refused], role: str, seconds: float) -> None:
    token = pulsar_secured.token(secured.folder, role, seconds) if role else ""
    broker = connect(secured.url, {"token": token})
    try:
        for ask in (
            lambda: broker.create_topic("refused", 1),
            lambda: broker.partitions("secured"),
            lambda: broker.publish([Record("secured", b"k", b"v")]),
        ):
            with pytest.raises(kind) as caught:
                ask()
            assert not token or token not in str(caught.value)
    finally:
        broker.close()


@pytest.mark.real
@pytest.mark.slow
def test_a_token_of_another_broker_is_named(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"another secret of thirty-two byte")
    broker = connect(secured.url, {"token": pulsar_secured.token(tmp_path, "admin")})
    with pytest.raises(BadCredentials):
        broker.topics()
    broker.close()


@pytest.mark.real
@pytest.mark.slow
def test_an_authority_that_is_not_known_is_named(secured: Secured) -> None:
    files = kafka_secured.files(secured.folder)
    broker = connect(secured.url.replace(str(files.ca), str(files.stranger)))
    with pytest.raises(Untrusted, match="ca"):
        broker.ping()
    broker.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("pulsar://", "name a broker"),
        ("pulsar://h/public", "tenant/namespace"),
        ("pulsar://h/a/b/c", "tenant/namespace"),
        ("pulsar://me:hush@h", "no user names"),
        ("pulsar://h?admn=http://h", "Did you mean 'admin'"),
        ("pulsar://h?admin=h:8080", "http://localhost:8080"),
        ("pulsar://h?compression=gzip", "choose none"),
        ("pulsar://h?ca=/no/such/file", "no such file"),
    ],
)
def test_a_url_that_is_not_understood_says_what_to_write(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        connect(url)
    assert "hush" not in str(caught.value)


def test_the_admin_service_is_where_pulsar_has_it() -> None:
    plain, tls = parse("pulsar://a,b:7000", {}), parse("pulsar+ssl://[::1]/x/y", {"token": "t"})
    assert (plain.service, plain.namespace) == ("pulsar://a:6650,b:7000", "public/default")
    assert plain.admin == ("http://a:8080", "http://b:8080")
    assert (tls.service, tls.namespace, tls.token) == ("pulsar+ssl://[::1]:6651", "x/y", "t")
    assert tls.admin == ("https://[::1]:8443",)


@pytest.mark.parametrize("key", [None, b"", b"text", "ключ".encode(), b"\xff\x00", b"nul\x00"])
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("a", b"1"), ("b", "ü".encode())),
        (("b", b"1"), ("a", b"2")),
        (("a", b"1"), ("a", b"2")),
        (("a", b"\xff"),),
        (("footfall-key", b"mine"),),
        (("", b""),),
    ],
)
def test_keys_and_headers_come_through_text(key: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> None:
    name, properties = pack(key, headers)
    assert unpack(name or "", dict(properties or {})) == (key, headers)


def test_what_is_text_is_seen_by_every_pulsar_client() -> None:
    assert pack(b"visitor", (("a", b"1"), ("b", b"2"))) == ("visitor", {"a": "1", "b": "2"})
