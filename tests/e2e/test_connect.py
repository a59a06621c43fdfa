"""The recipes of docs/connect.md, as they stand there, against a real Kafka."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import brokers
from activity import session
from activity.event import SESSION_TOPIC
from brokers.base import Record
from pipeline.io import publish_closed
from tests.e2e.harness import PATIENCE, ROOT, SITE, fetch, running, secret_key, until
from tests.require import require
from tests.servers import connect
from tests.servers.connect import worker

pytestmark = [pytest.mark.real, pytest.mark.slow]

NOON = 1_748_779_200_000
RECIPES = {  # by the file's name, which the first line tells
    re.split(r"[:,\n]", text, maxsplit=1)[0].removeprefix("# "): text
    for text in re.findall(r"^```\w+\n(.*?)^```", (ROOT / "docs/connect.md").read_text(), re.DOTALL | re.MULTILINE)
}
Run = Callable[..., None]


@pytest.fixture(scope="module")
def program() -> Path:
    missing = connect.available()
    require("connectors", not missing, missing)
    return connect.build()


@pytest.fixture
def run(program: Path, tmp_path: Path, kafka: str) -> Iterator[Run]:
    """`run(name, VARIABLE=…)` starts a recipe, which goes on until the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, **variables: str) -> None:
        # Other tests of this run may read as well, so each has a group of its own.
        text = RECIPES[f"{name}.yaml"].replace(f"consumer_group: {name}", f"consumer_group: {name}-{uuid.uuid4().hex}")
        (tmp_path / f"{name}.yaml").write_text(text)
        line = [program, "run", "--set", "http.enabled=false", tmp_path / f"{name}.yaml"]
        with (tmp_path / f"{name}.log").open("wb") as log:
            env = os.environ | variables | {"KAFKA": kafka}
            started.append(subprocess.Popen(line, env=env, stdout=log, stderr=log))

    yield begin
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.fixture
def site(kafka: str) -> str:
    """A site with two visits on the topic, of which one is announced twice."""
    name = f"s{uuid.uuid4().hex[:12]}.example"
    nothing = {pl.String(): "", pl.Boolean(): False}
    visit = {column: nothing.get(dtype, 0) for column, dtype in session.COLUMNS.items()}
    visit |= {"site": name, "started_at": NOON, "ended_at": NOON + 61_500, "pageviews": 3, "entry_page": "/café"}
    visits = [visit | {"visitor": number, "session_id": 2**63 + number, "source": "x.com"} for number in (1, 2, 2)]
    broker = brokers.connect(f"kafka://{kafka}")
    try:
        if SESSION_TOPIC not in broker.topics():
            broker.create_topic(SESSION_TOPIC, 4)
        publish_closed(broker, pl.DataFrame(visits, schema=session.COLUMNS))
    finally:
        broker.close()
    return name


class Webhook:
    """Takes requests, and turns the first one away as a server does that is just restarting."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str | None, Any]] = []
        self.asked = 0
        taken = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.asked += 1
                if taken.asked > 1:
                    taken.bodies.append((self.headers["Idempotency-Key"], json.loads(body)))
                self.send_response(503 if taken.asked == 1 else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    hook.thread.start()
    yield hook
    hook.server.shutdown()
    hook.thread.join()
    hook.server.server_close()


def test_visits_go_to_a_webhook_that_is_away_for_a_moment(run: Run, site: str, webhook: Webhook) -> None:
    run("visits-to-webhook", SITE=site, WEBHOOK=f"http://127.0.0.1:{webhook.server.server_port}/visits")
    until(lambda: len(webhook.bodies) == 3, "all have come")
    assert sorted(key or "" for key, _ in webhook.bodies) == [
        "0000000000000001-8000000000000001", *["0000000000000002-8000000000000002"] * 2,
    ]  # fmt: skip
    first = webhook.bodies[0][1]
    assert (first["site"], first["started_at"], first["entry_page"]) == (site, NOON, "/café")
    assert set(first) == set(session.COLUMNS)


def test_visits_go_to_clickhouse_once(run: Run, site: str, clickhouse: str) -> None:
    address = f"http://{clickhouse.partition('@')[2].partition('/')[0]}"
    user, _, password = clickhouse.partition("://")[2].partition("@")[0].partition(":")
    headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}

    def ask(statement: str) -> str:
        status, _, answer = fetch(f"{address}/?database=default", statement.encode(), headers)
        assert status == 200, answer
        return answer.decode()

    (table,) = [text for text in RECIPES.values() if text.startswith("CREATE TABLE visits")]
    ask(table)
    run("visits-to-clickhouse", CLICKHOUSE=address, CLICKHOUSE_USER=user, CLICKHOUSE_PASSWORD=password)
    columns = "visitor, started_at, ended_at, pageviews, entry_page, source"
    statement = f"SELECT {columns} FROM visits FINAL WHERE site = '{site}' ORDER BY visitor"
    row = "2025-06-01 12:00:00.000\t2025-06-01 12:01:01.500\t3\t/café\tx.com\n"
    expected = "".join(f"{number:016x}\t{row}" for number in (1, 2))
    until(lambda: ask(statement) == expected, "both visits are there once")


def test_kafka_connect_reads_visits_with_the_converters_of_the_recipes(kafka: str, site: str, tmp_path: Path) -> None:
    lines, maps = tmp_path / "visits.jsonl", tmp_path / "maps.txt"
    whole = RECIPES["visits-to-file.properties"].replace("/var/lib/visits.jsonl", str(lines))
    converters = re.findall(r"^(?:key|value)\.converter.*$", RECIPES["visits-to-clickhouse.properties"], re.MULTILINE)
    kept = [line for line in whole.splitlines() if "converter" not in line and not line.startswith(("name", "file"))]
    parsed = "\n".join([*kept, *converters, "name=parsed", f"file={maps}"])
    for name, text in (("whole", whole), ("parsed", parsed)):
        (tmp_path / f"{name}.properties").write_text(text)
    line = worker.command(tmp_path, kafka, [tmp_path / "whole.properties", tmp_path / "parsed.properties"])
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log)

    def of_this_site(path: Path) -> list[str]:
        return [text for text in path.read_text().splitlines() if site in text] if path.exists() else []

    try:
        until(lambda: len(of_this_site(lines)) == len(of_this_site(maps)) == 3, "both have all")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    visits = [json.loads(text) for text in of_this_site(lines)]
    assert sorted(visit["visitor"] for visit in visits) == ["0000000000000001", *["0000000000000002"] * 2]
    assert all("entry_page=/café" in text for text in of_this_site(maps))


def test_a_databases_changes_come_in_as_events(run: Run, kafka: str, tmp_path: Path) -> None:
    topic, at = f"shop.public.orders.{uuid.uuid4().hex}", int(time.time() * 1000) - 60_000
    rows = [{"id": number, "customer_id": number % 2, "total": 9.5, "currency": "EUR"} for number in range(4)]
    changes = [{"payload": {"op": "c", "before": None, "after": row, "ts_ms": at}} for row in rows]
    changes += [changes[0], {"payload": {"op": "u", "before": rows[0], "after": rows[0] | {"total": 1}, "ts_ms": at}}]
    broker = brokers.connect(f"kafka://{kafka}")
    try:
        broker.create_topic(topic, 1)
        broker.publish([Record(topic, b"", json.dumps(change).encode()) for change in changes])
    finally:
        broker.close()
    with running(tmp_path / "data", "--site", SITE) as up:
        key = secret_key(up.data)
        run("orders-to-footfall", ORDERS_TOPIC=topic, SITE=SITE, SITE_KEY=key, FOOTFALL=up.tracking)
        up.shows({"events": 4, "visitors": 2})
        columns = "groupUniqArray(name) AS names, any(props) AS props, groupUniqArray(user) AS users"
        (found,) = up.sql(f"SELECT {columns} FROM events")
    assert (found["names"], sorted(found["users"])) == (["order"], ["0", "1"])
    assert json.loads(found["props"]) == {"total": 9.5, "currency": "EUR"}
