"""The vendors' own clients send while the tracking process is killed and Kafka dies and comes back.

What a client was told is stored stands on the page, nothing twice, for each event has an id of its protocol's, under
which its client sends it again; and the account sums.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import PATIENCE, Up, environment, fetch, until
from tests.e2e.stream import worker
from tests.e2e.test_audit import audit
from tests.servers import kafka as part
from tests.trackers.conftest import CLIENTS

pytestmark = [pytest.mark.real, pytest.mark.slow]

NAMES = ("segment", "posthog", "snowplow")
SITES = "".join(
    f'[[site]]\ndomain = "{name}.example"\nwrite_keys = ["secret-write-key-of-{name}"]\nids = ["{prefix}{name}-id"]\n'
    for name, prefix in zip(NAMES, ("", "", "snowplow:"), strict=True)
)
ACCEPTED = re.compile(rb'^footfall_events_total\{outcome="accepted".*\} (\S+)$', re.MULTILINE)


class Sending:
    """A client that sends until it is asked what it believes of its events."""

    def __init__(self, name: str, up: Up) -> None:
        key = "secret-write-key-of-segment" if name == "segment" else f"{name}-id"
        self.site = f"{name}.example"
        line = [sys.executable, "-P", "under_way.py", name, up.tracking, key, self.site]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = environment({"NO_PROXY": "127.0.0.1"})
        self.process = subprocess.Popen(line, cwd=CLIENTS, env=env, text=True, **pipes)

    def ended(self) -> tuple[set[int], list[int]]:
        """The numbers of the events it sent, and of those it was told are stored."""
        said, complaints = self.process.communicate("", timeout=PATIENCE)
        assert self.process.returncode == 0, complaints
        told = json.loads(said)
        return set(range(told["sent"])), told["answered"]


@contextmanager
def sending(name: str, up: Up) -> Iterator[Sending]:
    client = Sending(name, up)
    try:
        yield client
    finally:
        client.process.kill()
        client.process.wait()


def accepted(up: Up) -> float:
    """How many events this tracking process has taken."""
    try:
        metrics = fetch(f"{up.tracking}/metrics")[2]
    except OSError:
        return 0
    return sum(map(float, ACCEPTED.findall(metrics)))


def spools(up: Up) -> bool:
    return any((up.data / "spool").rglob("*.spool"))


def kill_tracking(up: Up) -> None:
    """kill -9, and back when the next one takes events."""
    killed = worker(up, "tracking")
    os.kill(killed, signal.SIGKILL)
    until(lambda: worker(up, "tracking") != killed, "there is another tracking process")
    more(up)


def more(up: Up) -> None:
    """Back when some more requests of each client were taken."""
    before = accepted(up)
    until(lambda: accepted(up) >= before + 100, "events are taken")


def test_what_the_clients_were_answered_is_stored_once(start: Start, own_kafka: part.Server) -> None:
    address = own_kafka.address()
    assert address
    env = {"FOOTFALL_BROKER": f"kafka://{address}?timeout_ms=2000"}
    up = start(env=env)
    up.data.mkdir(exist_ok=True)
    (up.data / "sites.toml").write_text(SITES)
    up.wait_ready()
    with ExitStack() as stack:
        clients = [stack.enter_context(sending(name, up)) for name in NAMES]
        more(up)
        kill_tracking(up)
        own_kafka.kill()
        kill_tracking(up)  # while requests wait for the broker
        until(lambda: spools(up), "events go to the spool")
        more(up)
        part.start(own_kafka.folder, int(address.rpartition(":")[2]))
        until(lambda: not spools(up), "the spool is drained")
        kill_tracking(up)
        believed = [client.ended() for client in clients]
    until(lambda: not spools(up), "nothing is left in the spool")
    stored: dict[str, list[int]] = {}

    def told() -> bool:
        for client in clients:
            rows = up.sql(f"SELECT path FROM events WHERE site = '{client.site}'")
            stored[client.site] = [int(row["path"].strip("/")) for row in rows]
        pairs = zip(clients, believed, strict=True)
        return all(set(answered) <= set(stored[client.site]) for client, (_, answered) in pairs)

    until(told, "all that was answered is stored")
    settled: dict[str, Any] = {}

    def balanced() -> bool:
        settled.update(audit(up.data, "--broker", env["FOOTFALL_BROKER"])[1])
        return not settled["in_flight"]

    until(balanced, "nothing is on its way")
    assert told()
    for client, (sent, answered) in zip(clients, believed, strict=True):
        numbers = stored[client.site]
        assert len(numbers) == len(set(numbers)), client.site
        assert set(answered) <= set(numbers) <= sent, client.site
        assert len(answered) > len(sent) / 2, client.site
        up.shows({"pageviews": len(numbers), "visitors": 7}, client.site)
    assert (settled["mismatches"], settled["unaccounted"]) == ([], 0)
    assert settled["stored"] == sum(map(len, stored.values()))
