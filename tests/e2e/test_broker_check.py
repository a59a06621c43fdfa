"""`footfall broker check` and `footfall topics` on real brokers, from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic

from tests.e2e.harness import footfall, until
from tests.e2e.test_brokers import without_topics
from tests.patience import patient

DAY = 86_400_000


def topics(verb: str, url: str, *more: str, status: int = 0) -> list[dict[str, Any]]:
    done = footfall("topics", verb, "--broker", url, "--json", *more)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(url: str, status: int = 0) -> dict[str, Any]:
    done = footfall("broker", "check", url, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def kinds(report: dict[str, Any]) -> set[str]:
    return {problem["kind"] for problem in report["problems"]}


def changed(changes: list[dict[str, Any]], topic: str = "footfall.search") -> set[tuple[str, str, str, str]]:
    return {(c["what"], c["held"], c["wanted"], c["how"]) for c in changes if c["topic"] == topic}


def test_topics_from_nothing_to_the_plan_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/log.db"
    assert {change["how"] for change in topics("plan", url, status=1)} == {"create"}
    assert {line["missing"] for line in topics("list", url, status=1)} == {True}
    assert len(topics("apply", url, "--partitions", "3")) == 6
    assert topics("plan", url) == topics("apply", url) == []
    assert {line["partitions"] for line in topics("list", url)} == {3}


def test_nothing_is_made_smaller_unasked(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/log.db"
    topics("apply", url)
    shorter = ("--retention-days", "7")
    for verb in ("plan", "apply"):
        found = topics(verb, url, *shorter, status=1)
        assert changed(found) == {("retention", "for ever", "7 days", "shorten")}
    assert {line["retention_ms"] for line in topics("list", url)} == {-1}
    topics("apply", url, *shorter, "--delete-older")
    assert {line["retention_ms"] for line in topics("list", url)} == {7 * DAY}
    assert topics("plan", url) == []
    topics("apply", url, "--keep-forever")
    refused = footfall("topics", "apply", "--broker", url, "--partitions", "8")
    assert refused.returncode == 1
    assert "partitions: 4 -> 8" in refused.stdout
    assert "broker move" in refused.stdout
    assert {(line["partitions"], line["retention_ms"]) for line in topics("list", url)} == {(4, -1)}


def test_check_names_what_is_missing_or_too_short_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/log.db"
    report = check(url)
    assert (report["product"], report["brokers"], report["problems"]) == ("SQLite", 1, [])
    assert report["version"]
    assert report["capabilities"]["durable"]["supported"]
    assert 0 < report["round_trip_ms"]["p50"] <= report["round_trip_ms"]["p99"]
    assert report["published_per_second"] > 0
    assert report["read_per_second"] > 0
    topics("apply", url, "--retention-days", "2")
    assert [line["topic"] for line in topics("list", url)] == [line["topic"] for line in topics("list", url)]
    report = check(url, status=1)
    assert kinds(report) == {"retention"}
    assert "--retention-days" in report["problems"][0]["text"]


@pytest.mark.parametrize("url", ["kafka://127.0.0.1:1", "sqlite:///proc/none/log.db"])
def test_check_of_a_broker_that_is_not_there_says_so(url: str) -> None:
    assert kinds(check(url, status=1)) == {"unreachable"}


def test_check_refuses_what_is_no_broker() -> None:
    for url in ("kafka://h:9092?ack=1", "kafak://h", "kafka://"):
        done = footfall("broker", "check", url)
        assert done.returncode == 2, done.stdout
        assert "Error: " in done.stderr


@pytest.mark.real
@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
def test_check_and_topics_on_kafka(kafka: str, client: str) -> None:
    without_topics(kafka)
    url = f"kafka://{kafka}?client={client}"
    report = check(url)
    assert (report["product"], report["brokers"], report["problems"]) == ("Kafka", 1, [])
    assert report["version"].startswith("4.")
    assert report["round_trip_ms"]["p50"] > 0
    assert any("no topics yet" in note for note in report["notes"])
    applied = footfall("topics", "apply", "--broker", url)
    assert applied.returncode == 0, applied.stderr
    assert "one server" in applied.stderr
    assert {(line["partitions"], line["replication"]) for line in topics("list", url)} == {(4, 1)}
    assert topics("plan", url) == []
    assert check(url)["problems"] == []

    admin = AdminClient({"bootstrap.servers": kafka})
    assert not [name for name in admin.list_topics(timeout=patient(30)).topics if "check" in name]
    entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "footfall.search", incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(10)
    admin.delete_topics(["footfall.custom"])["footfall.custom"].result(10)
    new = NewTopic("footfall.custom", num_partitions=2, replication_factor=1, config={"retention.ms": str(DAY)})
    admin.create_topics([new])["footfall.custom"].result(10)
    assert {"settings", "partitions", "retention"} <= kinds(check(url, status=1))
    assert changed(topics("plan", url, status=1)) == {("cleanup.policy", "compact", "delete", "change")}
    left = topics("apply", url, status=1)
    assert ("partitions", "2", "4", "refuse") in changed(left, "footfall.custom")
    assert changed(topics("plan", url, status=1)) == set()
    without_topics(kafka)


@pytest.mark.real
def test_three_copies_where_there_are_three_servers(kafka3: str) -> None:
    without_topics(kafka3)
    url = f"kafka://{kafka3}"
    assert check(url)["brokers"] == 3
    admin = AdminClient({"bootstrap.servers": kafka3})
    new = NewTopic("footfall.search", num_partitions=4, replication_factor=1, config={"retention.ms": "-1"})
    admin.create_topics([new])["footfall.search"].result(10)
    refused = ("copies", "1", "3", "refuse")
    until(lambda: refused in changed(topics("plan", url, status=1)), "every server has heard of the topic")
    assert refused in changed(topics("apply", url, status=1))
    held = {line["topic"]: line["replication"] for line in topics("list", url)}
    assert held.pop("footfall.search") == 1
    assert set(held.values()) == {3}
    resource = ConfigResource(ConfigResource.Type.TOPIC, "footfall.pageview")
    config = admin.describe_configs([resource])[resource].result(10)
    assert (config["min.insync.replicas"].value, config["cleanup.policy"].value) == ("2", "delete")
    assert kinds(check(url, status=1)) == {"replication"}
    without_topics(kafka3)


@pytest.mark.parametrize("command", [("up",), ("ingest",), ("load",), ("topics", "list")], ids=" ".join)
def test_a_url_that_cannot_be_used_is_wrong_usage_everywhere(command: tuple[str, ...], tmp_path: Path) -> None:
    for url, said in (("kafka://h?timeout_m=1", "Did you mean 'timeout_ms'?"), ("kafak://h", "Did you mean kafka://?")):
        data = ("--data", str(tmp_path / "data")) if command[0] != "topics" else ()
        done = footfall(*command, *data, "--broker", url)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
