"""Profiles and presets of the Kafka adapter: what a URL becomes, value by value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brokers import connect, schemes
from brokers.base import BadCredentials
from brokers.kafka.settings import _DEFAULTS, PRESETS, SCHEMES, parse
from brokers.pulsar.settings import parse as parse_pulsar

PASSWORD = {"username": "u", "password": "p"}


@pytest.mark.parametrize("name", [*SCHEMES, *PRESETS])
def test_each_recommended_value_is_documented_with_its_reason_and_its_document(name: str) -> None:
    profile = (SCHEMES | PRESETS)[name]
    text = (Path(__file__).parents[3] / "docs" / "brokers.md").read_text(encoding="utf-8")
    rows = text.partition(f"\n| `{name}` |")[2].partition("\n\n")[0]
    for option, value in profile.options.items():
        assert value != _DEFAULTS[option], f"{option} is the default anyway"
        assert re.search(rf"`{option}` \| `?{value}`? \| [^|]{{10,}} \| [^|]{{8,}} \|", rows), f"{option} of {name}"


def test_warpstream_batches_asks_often_and_says_its_zone() -> None:
    settings = parse("warpstream://agents?zone=us-east-1a", {})
    assert settings.product == "WarpStream"
    assert settings.servers == "agents:9092"
    assert settings.client_id == "footfall,ws_az=us-east-1a"
    assert (settings.linger_ms, settings.metadata_age_ms, settings.timeout) == (25, 60_000, 30.0)
    assert (settings.fetch_bytes, settings.partition_fetch_bytes) == (104_857_600, 52_428_800)


def test_an_option_of_the_url_lies_over_the_profile() -> None:
    assert parse("redpanda://h", {}).linger_ms == 5
    assert parse("redpanda://h?linger_ms=0", {}).linger_ms == 0
    assert parse("kafka://h?zone=a", {}).client_id == "footfall"
    assert parse("kafka://h?zone=a", {}).zone == "a"


def test_event_hubs_needs_a_connection_string_alone() -> None:
    settings = parse("kafka://ns.servicebus.windows.net?preset=event-hubs", {"password": "Endpoint=sb://…"})
    assert settings.servers == "ns.servicebus.windows.net:9093"
    assert (settings.protocol, settings.mechanism, settings.username) == ("SASL_SSL", "PLAIN", "$ConnectionString")
    assert (settings.idle_ms, settings.metadata_age_ms, settings.timeout) == (180_000, 180_000, 60.0)
    assert settings.compression == "none"


def test_confluent_cloud_needs_an_api_key_and_its_secret() -> None:
    settings = parse("kafka://pkc-1.eu-west-1.aws.confluent.cloud:9092?preset=confluent-cloud", PASSWORD)
    assert (settings.protocol, settings.mechanism, settings.username) == ("SASL_SSL", "PLAIN", "u")
    with pytest.raises(ValueError, match="needs a user name and a password"):
        parse("kafka://pkc-1.eu-west-1.aws.confluent.cloud?preset=confluent-cloud", {})


def test_msk_with_iam_knows_its_region_by_the_host() -> None:
    settings = parse("kafka://b-1.mine.abc123.c2.kafka.eu-west-1.amazonaws.com?preset=msk-iam", {})
    assert settings.servers == "b-1.mine.abc123.c2.kafka.eu-west-1.amazonaws.com:9098"
    assert (settings.protocol, settings.mechanism, settings.region) == ("SASL_SSL", "OAUTHBEARER", "eu-west-1")
    with pytest.raises(ValueError, match="needs region="):
        parse("kafka://broker.internal?preset=msk-iam", {})


@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
def test_msk_with_iam_signs_with_the_credentials_of_the_process(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signing needs no network; without credentials the error names them, before anything is connected."""
    from base64 import urlsafe_b64decode

    from brokers.kafka.tokens import Tokens

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-in-the-token")
    settings = parse(f"kafka://127.0.0.1:1?preset=msk-iam&region=eu-west-1&client={client}", {})
    token, _ = Tokens(settings).token()
    signed = urlsafe_b64decode(token + "==").decode()
    assert "kafka.eu-west-1.amazonaws.com" in signed and "AKIAEXAMPLE" in signed and "not-in-the-token" not in signed
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(BadCredentials, match="AWS credentials"):
        Tokens(settings).token()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://h?preset=event-hub", "choose msk-iam or confluent-cloud or event-hubs"),
        ("warpstream://h?preset=msk-iam", "a preset is of kafka://"),
        ("kafka://h?sasl=PLAIN", "in the clear: add tls=true"),
        ("kafka://h?tls=true&certificate=/dev/null", "no such file"),
        ("kafka://h?sasl=OAUTHBEARER&tls=true", "needs a token"),
    ],
)
def test_what_cannot_be_is_said(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(url, {} if "OAUTH" in url else PASSWORD)


def test_every_scheme_connects_without_anybody_there() -> None:
    for scheme in SCHEMES:
        assert scheme in schemes()
        broker = connect(f"{scheme}://127.0.0.1:1")
        assert broker.url == f"{scheme}://127.0.0.1:1"
        broker.close()


def test_a_secret_that_would_not_be_used_or_would_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match="a user name needs sasl="):
        parse("kafka://h", PASSWORD)
    with pytest.raises(ValueError, match="a user name needs sasl="):
        parse("kafka://u:p@h?oidc=https://h/token", {})
    assert parse("kafka://[::1]", {}).servers == "[::1]:9092"
    for url, secrets, said in (
        ("pulsar://h", {"token": "t"}, r"in the clear: write pulsar\+ssl://"),
        (f"pulsar://h?ca={__file__}", {}, r"need pulsar\+ssl://"),
    ):
        with pytest.raises(ValueError, match=said):
            parse_pulsar(url, secrets)
    assert parse_pulsar("pulsar://127.0.0.1:6650", {"token": "t"}).token == "t"
