"""What the functions make good: an outage of Kafka, late events, a replay longer than an invocation, a lost checkpoint.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.spool_sqs import unpack
from tests.e2e.functions import Aws, Image, Zip
from tests.patience import patient
from tests.serverless import events, function
from tests.serverless.lambda_api import LambdaApi
from tests.serverless.runtime_api import RuntimeApi
from tests.servers import kafka as part

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def broker(own_kafka: part.Server) -> part.Server:
    return own_kafka


def make_topics(address: str) -> None:
    """As infra/SERVERLESS.md says, before the functions are deployed."""
    words = [sys.executable, "-m", "infra.cli", "topics", "apply", "--broker", f"kafka://{address}"]
    subprocess.run(words, cwd=function.ROOT, check=True, capture_output=True)


class Queue:
    """A queue, and what Lambda's event source does with it."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        attributes = {"VisibilityTimeout": "0"}  # what failed may be tried again at once
        self.url = str(aws.sqs.create_queue(QueueName=f"q{uuid.uuid4().hex}", Attributes=attributes)["QueueUrl"])

    def messages(self) -> list[Any]:
        found = self._aws.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        return list(found.get("Messages", []))

    def deliver(self, drain: RuntimeApi, messages: list[Any]) -> list[str]:
        """Invokes the function and deletes what did not fail; the ids of what did."""
        answer = drain.invoke(events.sqs(messages))
        failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        for message in messages:
            if message["MessageId"] not in failed:
                self._aws.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return failed

    def put(self, body: str) -> str:
        return str(self._aws.sqs.send_message(QueueUrl=self.url, MessageBody=body)["MessageId"])


def test_events_of_an_outage_come_home_by_the_queue(
    aws: Aws, template: dict[str, Any], zipped: Zip, site: str, broker: part.Server, tmp_path: Path
) -> None:
    address = broker.address()
    assert address
    make_topics(address)
    bucket = aws.bucket()
    queue, image = Queue(aws), Image(address, aws, bucket, tmp_path)
    aws.enforce(template, bucket)
    url = f"kafka://{address}?timeout_ms=3000"
    environ = {"FOOTFALL_SITES": f'[[site]]\ndomain = "{site}"\n', "FOOTFALL_SPOOL": queue.url}
    with (
        zipped.running("track", FOOTFALL_BROKER=url, **environ) as track,
        zipped.running("drain", FOOTFALL_BROKER=url) as drain,
    ):

        def send(*paths: str) -> tuple[int, Any]:
            pages = [{"site": site, "type": "pageview", "url": f"https://{site}{path}", "id": path} for path in paths]
            answer = track.invoke(events.http("POST", "/collect", {"events": pages}))
            return answer["statusCode"], json.loads(answer["body"])["accepted"]

        assert send("/") == (202, 1)
        assert not queue.messages()

        broker.kill()
        assert send("/pricing", "/terms?q=refund") == (202, 2)
        assert send("/signup") == (202, 1)
        waiting = queue.messages()
        assert len([m for m in waiting if not counts_only(m)]) == 2, "a message a request"
        assert not [m for m in waiting if "203.0.113" in m["Body"]]
        failed = queue.deliver(drain, waiting)
        assert sorted(failed) == sorted(m["MessageId"] for m in waiting), "what the broker did not take stays"

        part.start(broker.folder, int(address.rpartition(":")[2]))
        stranger = queue.put("not ours")
        waiting = queue.messages()
        assert len([m for m in waiting if not counts_only(m)]) == 3
        assert queue.deliver(drain, waiting) == [stranger]
        left = [m["MessageId"] for m in queue.messages() if not counts_only(m)]
        assert left == [stranger], "only what nobody can publish is left"
        # SQS may deliver a message again although it was deleted.
        assert queue.deliver(drain, [m for m in waiting if m["MessageId"] != stranger]) == []

        assert send("/thanks") == (202, 1)  # by the queue still, if the instance has not seen yet that Kafka is back
        assert queue.deliver(drain, queue.messages()) == [stranger]
    loaded, again = image.load(events.clock(), events.clock())
    assert (loaded["events"], again["events"]) == (6, 0), "five pages and a search, the search being an event too"
    pages = image.rows(f"SELECT path FROM footfall.events WHERE site = '{site}' AND type = 'pageview'")
    assert sorted(row["path"] for row in pages) == ["/", "/pricing", "/signup", "/terms", "/thanks"]
    [session] = image.rows(f"SELECT * FROM footfall.sessions WHERE site = '{site}'")
    assert int(session["pageviews"]) == 5


def counts_only(message: dict[str, Any]) -> bool:
    """Whether it has nothing but what the function counted, which it sends every few seconds."""
    try:
        records = unpack(message["Body"])
    except ValueError:
        return False
    return all(b'"reason":"outcomes"' in (record.value or b"") for record in records)


@pytest.fixture
def functions_api() -> Iterator[LambdaApi]:
    api = LambdaApi()
    yield api
    api.close()


def test_late_days_are_rebuilt_replayed_in_two_invocations_and_made_again(
    aws: Aws,
    template: dict[str, Any],
    zipped: Zip,
    site: str,
    broker: part.Server,
    tmp_path: Path,
    functions_api: LambdaApi,
) -> None:
    address = broker.address()
    assert address
    make_topics(address)
    bucket = aws.bucket()
    image = Image(address, aws, bucket, tmp_path)
    aws.enforce(template, bucket)
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    days = [noon - timedelta(days=2), noon - timedelta(days=1)]
    sessions = f"SELECT * FROM footfall.sessions WHERE site = '{site}' ORDER BY started_at"
    sites = f'[[site]]\ndomain = "{site}"\n'
    with zipped.running("track", FOOTFALL_BROKER=f"kafka://{address}", FOOTFALL_SITES=sites) as track:

        def send(*times: datetime) -> None:
            pages = [
                {"site": site, "type": "pageview", "url": f"https://{site}/", "id": f"at {at}", "ts": at.isoformat()}
                for at in times
            ]
            answer = track.invoke(events.http("POST", "/collect", {"events": pages}))
            assert json.loads(answer["body"])["accepted"] == len(times), answer

        send(datetime.now(UTC))
        with image.running("load") as load:
            load.invoke(events.clock(), timeout=patient(120))  # from here on the days before are late
            send(*days, *(day + timedelta(minutes=1) for day in days))
            # What the function has counted comes in a batch of its own.
            assert load.invoke(events.clock(), timeout=patient(120))["events"] == 4

        with image.running("reconcile") as reconcile:
            done = [reconcile.invoke(events.clock(), timeout=patient(120)) for _ in range(2)]
        assert [answer["marks"] for answer in done] == [2, 0], "a dirty day each of two visitors"
        before = image.rows(sessions)
        assert [int(session["pageviews"]) for session in before] == [2, 2, 1]
        assert image.archive(events.clock())["archived"] >= 5

        span = {"from": str(days[0].date()), "to": str(days[1].date())}
        wanted = {**span, "site": site, "source": "archive"}
        with image.running("replay", AWS_ENDPOINT_URL_LAMBDA=functions_api.url) as replay:
            with pytest.raises(AssertionError, match=r"to.* is before"):
                replay.invoke({"from": span["to"], "to": span["from"]}, timeout=patient(120))
            with pytest.raises(AssertionError, match=r"unknown field.*dryrun.*invoke it with days and options such as"):
                replay.invoke({**span, "dryrun": True})

            first = replay.invoke(wanted, timeout=patient(120), seconds=100)
            assert ([line["day"] for line in first["lines"]], first["done"]) == ([span["from"]], False)
            name, following = functions_api.invoked.get_nowait()
            assert name == "footfall-dev-replay"
            assert following.items() >= wanted.items()

            second = replay.invoke(following, timeout=patient(120), seconds=900)
            assert ([line["day"] for line in second["lines"]], second["done"]) == ([span["from"], span["to"]], True)
            assert [(line["events"], line["sessions"], line["equal"]) for line in second["lines"]] == [(2, 1, True)] * 2
            assert second["lines"][0] == first["lines"][0]
            assert replay.invoke(following, timeout=patient(120), seconds=100) == second, "Lambda may deliver it twice"
            assert functions_api.invoked.empty()
        stored = aws.s3.get_object(Bucket=bucket, Key=f"checkpoint/{second['replay']}")["Body"].read()
        record = json.loads(stored.partition(b"\n")[2])
        assert (record["lines"], record["done"]) == (second["lines"], True)
        assert image.rows(sessions) == before

        aws.s3.delete_object(Bucket=bucket, Key="checkpoint/unit-0")
        send(datetime.now(UTC))
        assert image.load(events.clock()) == [{"batches": 0, "events": 0}], "not before all is made again"
        with image.running("reconcile") as reconcile:
            reconcile.invoke(events.clock(), timeout=patient(120))
        assert sum(int(session["pageviews"]) for session in image.rows(sessions)) == 6
