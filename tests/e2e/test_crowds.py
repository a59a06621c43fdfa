"""Many clients that do nothing, or ask for much, beside one that only wants its answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.e2e.harness import PATIENCE, SITE, Up, fetch, footfall, running

pytestmark = pytest.mark.slow

SLOW = b"SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("crowds") / "data", "--site", SITE) as started:
        yield started


def everybody_else_is_answered(up: Up) -> None:
    assert up.get("/ready")[0] == 200
    assert up.get("/metrics")[0] == 200
    assert up.get(f"/{SITE}")[0] == 200
    assert up.stats()["pageviews"] >= 0
    assert up.collect()["accepted"] == 1
    assert fetch(up.tracking + "/ready")[0] == 200
    done = footfall("archive", "flush", "--data", str(up.data))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [16, 200])
def test_a_byte_each_and_idle_sockets_keep_nobody_waiting(up: Up, count: int) -> None:
    with ExitStack() as stack:
        for url in (up.tracking, up.dashboards):
            for number in range(2 * count):
                address = urlsplit(url)
                connection = socket.create_connection((address.hostname, address.port or 0), timeout=PATIENCE)
                stack.enter_context(connection)
                if number < count:
                    connection.sendall(b"G")
        everybody_else_is_answered(up)


def test_slow_questions_keep_nobody_waiting_but_questions(up: Up) -> None:
    answered: list[tuple[int, dict[str, str]]] = []
    # Each ends after half of the seconds that a statement may take at most.
    url = f"{up.dashboards}/sql?max_execution_time=15"
    ask = [threading.Thread(target=lambda: answered.append(fetch(url, SLOW)[:2])) for _ in range(20)]
    for thread in ask:
        thread.start()
    everybody_else_is_answered(up)
    unanswered = 20 - len(answered)
    for thread in ask:
        thread.join()
    assert unanswered > 0  # they were under way meanwhile
    assert all(status == 400 or headers["retry-after"] for status, headers in answered)
