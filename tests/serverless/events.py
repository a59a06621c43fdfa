"""Events in the shapes that AWS hands to functions."""

from __future__ import annotations

import base64
import json
from typing import Any

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"


def http(method: str, path: str, body: Any = None, query: str = "", encoded: bool = False, **headers: str) -> Any:
    """A request through API Gateway's HTTP API, payload version 2.0."""
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            "content-type": "application/json",
            "host": "abc123.execute-api.eu-central-1.amazonaws.com",
            "user-agent": CHROME,
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        }
        | {name.replace("_", "-"): value for name, value in headers.items()},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc123",
            "domainName": "abc123.execute-api.eu-central-1.amazonaws.com",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": CHROME,
            },
            "requestId": "id=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1773342238000,
        },
        "isBase64Encoded": encoded,
    }
    if body is not None:
        raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        event["body"] = base64.b64encode(raw).decode() if encoded else raw.decode()
        event["headers"]["content-length"] = str(len(raw))
    return event


def kafka(records: list[Any], source: str = "aws:kafka") -> Any:
    """A batch from MSK (`aws:kafka`) or a self-managed cluster (`SelfManagedKafka`) of a consumer's records."""
    by_partition: dict[str, list[Any]] = {}
    for record in records:
        by_partition.setdefault(f"{record.topic}-{record.partition}", []).append(
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": record.timestamp,
                "timestampType": "CREATE_TIME",
                "key": base64.b64encode(record.key).decode(),
                "value": base64.b64encode(record.value).decode(),
                "headers": [{name: list(value)} for name, value in record.headers],
            }
        )
    event = {"eventSource": source, "bootstrapServers": "broker:9092", "records": by_partition}
    if source == "aws:kafka":
        event["eventSourceArn"] = "arn:aws:kafka:eu-central-1:123456789012:cluster/footfall/0-1"
    return event


def clock() -> Any:
    """A tick of the schedule."""
    return {
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2026-03-12T19:03:58Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:events:eu-central-1:123456789012:rule/footfall"],
        "detail": {},
    }


def sqs(messages: list[Any]) -> Any:
    """A batch of messages, as `receive_message` gives them."""
    records = [
        {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1773342238000"},
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:spool",
            "awsRegion": "eu-central-1",
        }
        for message in messages
    ]
    return {"Records": records}
