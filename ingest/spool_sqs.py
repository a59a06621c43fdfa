"""The spool in an SQS queue, for functions: a function's own disk does not last.

An instance of a function may be frozen or gone before the broker is back, so it drains nothing itself. Another
function, which SQS invokes (`infra.serverless.drain`), publishes what waits and leaves what the broker does not take.

A message has the records of one request, as the files of a spool folder have them, in MessagePack, compressed and in
base64, because SQS takes text only. A request with many events becomes several messages. SQS may deliver a message
twice and in any order: the pipeline drops duplicates by their event ids, and no result depends on the order of events.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import msgspec

from brokers.base import Record
from ingest.spool import Content, Gauge, Publish
from stores.backends import Location
from stores.base import StoreUnreachable, Unusable

# What SQS takes everywhere, in one message and in all messages of a call together; newer queues may take more.
_MOST_BYTES = 256 << 10
_MOST_MESSAGES = 10
# Bytes of records in a message: in base64, and with what MessagePack adds, they stay below the limit uncompressed too.
_CHUNK = 160_000
_MORE_A_RECORD = 64
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Content]).decode


class SqsSpool:
    """A `Spool` in the queue of a URL such as `https://sqs.eu-central-1.amazonaws.com/123456789012/NAME`.

    Nothing is connected before the first record has to wait. Credentials come from where the AWS client looks for them.
    Raises `Unusable` for a URL that is not a queue's, and where the AWS client is missing."""

    def __init__(self, place: Location) -> None:
        if not place.host or len(place.path.strip("/").split("/")) != 2 or place.options:
            raise Unusable(
                f"{place.safe_url} is not the URL of an SQS queue: give the one that AWS shows, "
                "such as https://sqs.eu-central-1.amazonaws.com/123456789012/NAME"
            )
        if find_spec("boto3") is None:
            raise Unusable("a spool in SQS needs the package boto3: pip install 'footfall[s3]'")
        self._url = place.safe_url
        self._place = place

    def append(self, records: Sequence[Record]) -> None:
        """Send records to the queue. Raises `StoreUnreachable` unless SQS has taken every message."""
        from botocore.exceptions import BotoCoreError, ClientError

        for bodies in _calls(pack(records)):
            entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
            try:
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            except (BotoCoreError, ClientError) as error:
                raise StoreUnreachable(f"the queue {self._url} takes no events: {error}") from error
            for refused in answer.get("Failed", ()):
                why = refused.get("Message") or refused.get("Code")
                raise StoreUnreachable(f"the queue {self._url} did not take all events: {why}")

    def append_behind(self, records: Sequence[Record]) -> bool:
        """Return False: what waits is published by another function, in no particular order."""
        del records
        return False

    def drain(self, publish: Publish) -> int:
        """Return 0, see `append_behind`."""
        del publish
        return 0

    def waits(self) -> bool:
        """Return False, see `append_behind`."""
        return False

    def state(self) -> list[str]:
        """Return nothing: this process may send to the queue, not look into it. CloudWatch shows what waits."""
        return []

    def gauges(self) -> Iterator[Gauge]:
        """Yield nothing, see `state`."""
        yield from ()

    def close(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        # The region is in the name of AWS's hosts, sqs.REGION.amazonaws.com or ….sqs.REGION.vpce.amazonaws.com.
        _, _, region = f".{self._place.host}".partition(".sqs.")
        # A request waits for this after it waited for the broker, so not for long.
        config = Config(connect_timeout=2, read_timeout=4, retries={"max_attempts": 2, "mode": "standard"})
        return boto3.client(
            "sqs",
            endpoint_url=f"{self._place.scheme}://{self._place.host}",
            region_name=region.partition(".")[0] or None,
            config=config,
        )


def pack(records: Sequence[Record]) -> Iterator[str]:
    """Yield the bodies of messages that have all these records, in order, as `unpack` reads them."""
    chunk: list[Sequence[object]] = []
    size = 0
    for record in records:
        topic, key, value, headers, _partition = content = record[:5]
        texts = (topic, key or b"", value or b"", *(text for header in headers for text in header))
        more = _MORE_A_RECORD + sum(map(len, texts))
        if chunk and size + more > _CHUNK:
            yield _body(chunk)
            chunk, size = [], 0
        chunk.append(content)
        size += more
    if chunk:
        yield _body(chunk)


def unpack(body: str) -> list[Record]:
    """Return the records of a message's body. Raises ValueError when it is not one that `pack` made."""
    try:
        return [Record(*content) for content in _decode(zlib.decompress(base64.b64decode(body, validate=True)))]
    except (binascii.Error, zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"the message has no records: {error}") from error


def _body(chunk: list[Sequence[object]]) -> str:
    return base64.b64encode(zlib.compress(_encode(chunk), 1)).decode()


def _calls(bodies: Iterator[str]) -> Iterator[list[str]]:
    """Put bodies together that fit into one call."""
    call: list[str] = []
    for body in bodies:
        if call and (len(call) == _MOST_MESSAGES or sum(map(len, call)) + len(body) > _MOST_BYTES):
            yield call
            call = []
        call.append(body)
    if call:
        yield call
