"""The spool in a queue, against moto's SQS: every record is in a message, and no message or call is too large."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from random import Random
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from brokers.base import Record
from ingest.spool_sqs import SqsSpool, pack, unpack
from stores.backends import parse_location
from stores.base import StoreUnreachable, Unusable

pytestmark = pytest.mark.real

RECORDS = st.builds(
    Record,
    topic=st.sampled_from(["footfall.pageview", "footfall.custom"]),
    key=st.none() | st.binary(max_size=40),
    value=st.none() | st.binary(max_size=300),
    headers=st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), max_size=2).map(tuple),
    partition=st.none() | st.integers(0, 3),
    timestamp=st.none(),
)


@pytest.fixture(scope="module")
def sqs() -> Iterator[Any]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield boto3.client(
        "sqs",
        endpoint_url=f"http://{host}:{port}",
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    server.stop()


@pytest.fixture
def queue(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return str(sqs.create_queue(QueueName=f"q{uuid.uuid4().hex}")["QueueUrl"])


def spool(url: str) -> SqsSpool:
    return SqsSpool(parse_location(url))


def received(sqs: Any, queue: str) -> list[Record]:
    found: list[Record] = []
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        found += [record for message in messages for record in unpack(message["Body"])]
    return found


@given(st.lists(RECORDS, max_size=20))
def test_what_is_packed_is_unpacked(records: list[Record]) -> None:
    assert [record for body in pack(records) for record in unpack(body)] == records


def test_a_large_request_fits_into_messages_and_calls(sqs: Any, queue: str) -> None:
    """A thousand events of random bytes, which no compression makes smaller: 4 MB."""
    records = [Record("footfall.custom", b"k%d" % n, Random(n).randbytes(4000)) for n in range(1000)]
    bodies = list(pack(records))
    assert len(bodies) > 10
    assert max(map(len, bodies)) <= 256 << 10

    mine = spool(queue)
    mine.append(records)
    mine.close()
    assert sorted(received(sqs, queue), key=lambda r: int((r.key or b"")[1:])) == records


def test_a_refusal_of_the_queue_is_said(queue: str) -> None:
    missing = spool(f"{queue}-missing")
    with pytest.raises(StoreUnreachable, match="takes no events"):
        missing.append([Record("footfall.custom", None, b"x")])
    missing.close()


def test_one_record_that_no_message_holds_is_refused_in_words(queue: str) -> None:
    """Its sender keeps it; it goes to the broker when that is back."""
    mine = spool(queue)
    with pytest.raises(StoreUnreachable, match="takes no events"):
        mine.append([Record("footfall.custom", None, Random(1).randbytes(1_000_000))])
    mine.close()


@pytest.mark.parametrize("body", ["", "not base64!", "aGVsbG8=", "eJwDAAAAAAE="])
def test_a_message_of_somebody_else_is_not_understood(body: str) -> None:
    with pytest.raises(ValueError, match="the message has no records"):
        unpack(body)


@pytest.mark.parametrize("url", ["https://sqs.eu-central-1.amazonaws.com", "https://sqs.eu-central-1.amazonaws.com/q"])
def test_a_url_that_is_no_queues_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(Unusable, match="give the one that AWS shows"):
        spool(url)


@pytest.mark.parametrize(
    "host", ["sqs.eu-west-3.amazonaws.com", "vpce-0a1b-2c3d.sqs.eu-west-3.vpce.amazonaws.com", "eu-west-3.sqs.x"]
)
def test_the_region_is_that_of_the_queue(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3" if host.startswith("eu-") else "us-east-1")
    mine = spool(f"https://{host}/123456789012/spool")
    assert mine._client.meta.region_name == ("x" if host.startswith("eu-") else "eu-west-3")
    mine.close()
