"""The account, dead letters and forgetting where all parts are servers: Kafka, ClickHouse, Redis.

There a command does its work in a process of its own, beside the one that loads, and the broker keeps raw records until
its retention is over.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_connect
import polars as pl
import pytest
import redis

from tests.e2e.conftest import Start
from tests.e2e.harness import Up, footfall, secret_key, until
from tests.e2e.proof import digests, replay
from tests.e2e.test_audit import audit
from tests.e2e.test_brokers import without_topics
from tests.e2e.test_dead_letters import letters
from tests.e2e.test_doctor import doctor, states
from tests.servers import kafka as kafka_part

pytestmark = [pytest.mark.real, pytest.mark.slow]

MARK, OTHERS, HOUR = "zq-secret-of-him", 8, 3_600_000


class Servers(NamedTuple):
    """The URLs of a deployment's parts, and the bare clients that look into them."""

    broker: str
    clickhouse: str
    redis: str

    @property
    def flags(self) -> list[str]:
        """What every command is told."""
        return ["--broker", self.broker, "--warehouse", self.clickhouse, "--live", self.redis]

    @property
    def env(self) -> dict[str, str]:
        return {f"FOOTFALL_{flag[2:].upper()}": url for flag, url in zip(*[iter(self.flags)] * 2, strict=True)}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with clickhouse_connect.get_client(dsn=self.clickhouse.replace("clickhouse:", "http:")) as client:
            return list(client.query(sql).result_rows)

    def naming(self, texts: tuple[str, ...]) -> list[str]:
        """The tables with rows that name one of these; the tombstones alone may."""
        found = []
        sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        for (table,) in self.query(sql):
            if table != "erasures":
                rows = self.query(f"SELECT toString(tuple(*)) FROM {table}")
                found += [f"{table}: {row}" for (row,) in rows if any(text in str(row) for text in texts)]
        return found


@pytest.fixture
def servers(own_kafka: kafka_part.Server, clickhouse: str, redis_url: str) -> Iterator[Servers]:
    address = own_kafka.address()
    assert address
    without_topics(address)
    yield Servers(f"kafka://{address}", clickhouse, redis_url)


def visit(site: str, visitor: str, begin: int, mark: str = "") -> list[dict[str, Any]]:
    base = f"https://{site}/{mark or visitor}"
    told: list[dict[str, Any]] = [
        {"type": "pageview", "url": f"{base}?q={mark or 'lamp'}", "title": f"T {mark}"},
        {"type": "custom", "name": "signup", "url": base, "user": mark or visitor, "props": {"p": mark}},
    ]
    return [
        each | {"site": site, "visitor": visitor, "ts": begin + step * 1_000, "id": f"{visitor}-{begin}-{step}"}
        for step, each in enumerate(told)
    ]


def balanced(up: Up, flags: list[str], **known: int) -> dict[str, Any]:
    """The account once it has these sums; it sums."""
    last: dict[str, Any] = {}

    def told() -> bool:
        nonlocal last
        last = audit(up.data, *flags)[1]
        return {name: last.get(name) for name in known} == known and not last["in_flight"]

    try:
        until(told, f"the account has {known}")
    except AssertionError as error:
        raise AssertionError(f"{error}: it has {last}") from None
    assert (last["mismatches"], last["unaccounted"]) == ([], 0)
    return last


def forget(up: Up, flags: list[str], site: str, *arguments: str) -> dict[str, Any]:
    done = footfall("forget", "--site", site, *arguments, "--yes", "--json", "--data", str(up.data), *flags)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@contextmanager
def traffic(up: Up, site: str) -> Iterator[list[int]]:
    """Others come all the while; what was acknowledged is in the list."""
    stop, sent = threading.Event(), list[int]()

    def come() -> None:
        while not stop.wait(0.02):
            with suppress(OSError):
                up.collect(site=site, id=f"meanwhile-{len(sent)}", url=f"https://{site}/meanwhile")
                sent.append(len(sent))

    thread = threading.Thread(target=come)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def flush(up: Up, servers: Servers) -> None:
    done = footfall("archive", "flush", "--data", str(up.data), *servers.flags)
    assert done.returncode == 0, done.stderr


def in_files(data: Path, visitor: str) -> list[str]:
    """Where a visitor is in the archive and in the state of the live run."""
    found = [str(path) for path in (data / "spool").rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()]
    for pattern, read in (("archive/**/*.parquet", pl.read_parquet), ("checkpoint/segments-*/*", pl.read_ipc)):
        theirs = [path for path in data.glob(pattern) if (read(path)["visitor"] == int(visitor, 16)).any()]
        found += map(str, theirs)
    return found


def filled(start: Start, servers: Servers, site: str) -> tuple[Up, dict[str, int]]:
    """`up` with visits of days ago and of now, his among them, and two letters, one of them his; the account's sums."""
    applied = footfall("topics", "apply", "--retention-days", "7", "--broker", servers.broker)
    assert applied.returncode == 0, applied.stderr
    up = start("--site", site, env=servers.env).wait_ready()
    now, key = time.time_ns() // 1_000_000, secret_key(up.data, site)
    for begin in (now - 50 * HOUR, now - 26 * HOUR, now - 60_000):
        for number in range(OTHERS):
            up.send(visit(site, f"v{number}", begin), key)
        up.send(visit(site, "him", begin, MARK), key)
    again = up.send(visit(site, "him", now - 60_000, MARK), key)
    assert again["duplicates"] == 2
    # A page view, the search that follows from its address, and a custom event.
    events = 3 * (OTHERS + 1) * 3
    up.post({"site": site, "type": "pageview", "url": 7, "user": MARK})
    page = json.dumps({"site": site, "type": "pageview", "url": f"https://{site}/mended"})
    assert up.post(page[:-1].encode())[0] == 400
    up.shows({"events": events}, site)
    known = {"stored": events, "accepted": events, "refused": 2, "duplicate_at_door": 2}
    balanced(up, servers.flags, **known)
    return up, known


def test_letters_the_account_and_the_doctor(start: Start, servers: Servers, site: str) -> None:
    up, known = filled(start, servers, site)

    # A letter is mended and counted once, under its own hour.
    (letter,) = [each for each in letters(up.data, "list", *servers.flags) if each["reason"] == "malformed"]
    mend = ("replay", letter["id"], "--with", "s/$/}/", *servers.flags)
    assert [(each["outcome"], each["accepted"]) for each in letters(up.data, *mend)] == [("replayed", 1)]
    assert [each["outcome"] for each in letters(up.data, *mend)] == ["replayed before"]
    (shown,) = letters(up.data, "show", letter["id"], *servers.flags)
    assert (shown["state"], shown["received"] + "}") == ("replayed", shown["current"])
    events = known["stored"] + 1
    up.shows({"events": events}, site)
    known |= {"stored": events, "accepted": events}
    balanced(up, servers.flags, **known)
    flush(up, servers)
    balanced(up, servers.flags, **known)

    # The doctor finds nothing but the letters.
    known_to_it = {"dead letters": "warning"}
    until(lambda: states(doctor(up.data, *servers.flags, status=None)) == known_to_it, "all else is well")
    assert up.stop() == 0


def test_nothing_brings_him_back(start: Start, servers: Servers, site: str, tmp_path: Path) -> None:
    up, known = filled(start, servers, site)
    events, key = known["stored"], secret_key(up.data, site)
    flush(up, servers)

    # Forgotten by his user's id beside traffic, and when he came again, by his own.
    ((visitor,),) = servers.query(f"SELECT DISTINCT hex(visitor) FROM event_rows WHERE user = '{MARK}'")
    visitor = visitor.lower().zfill(16)
    bare: Any = redis.Redis.from_url(servers.redis)
    assert bare.zscore(f"footfall:active:{site}", visitor) is not None
    with traffic(up, site) as sent:
        receipt = forget(up, servers.flags, site, "--user", MARK)
    assert receipt["visitors"] == [visitor]
    assert {name: receipt["removed"][name] for name in ("events", "sessions", "dead_letters")} == {
        "events": 9, "sessions": 3, "dead_letters": 1,
    }  # fmt: skip
    kept = {each["where"].partition(" ")[0]: each["until"] for each in receipt["remains"] if "until" in each}
    assert set(kept) >= {"footfall.pageview", "footfall.custom", "footfall.dead-letter"}
    assert len(kept) == len(receipt["remains"]), receipt["remains"]
    week = datetime.now(UTC) + timedelta(days=8)
    assert all(datetime.now(UTC) < datetime.fromisoformat(until) < week for until in kept.values())
    assert bare.zscore(f"footfall:active:{site}", visitor) is None
    up.send(visit(site, "him", time.time_ns() // 1_000_000, MARK), key)
    left = events - 9 + len(sent)
    up.shows({"events": left + 3}, site)
    assert forget(up, servers.flags, site, "--visitor", visitor)["removed"]["events"] == 3
    up.shows({"events": left}, site)
    assert bare.zscore(f"footfall:active:{site}", visitor) is None
    bare.close()

    # Nothing brings him back: what the log still has of him is covered by the tombstones.
    flush(up, servers)
    told = {source: digests(replay(up.data, "--source", source, *servers.flags)) for source in ("broker", "archive")}
    assert told["broker"] == told["archive"]
    accepted = events + len(sent) + 3
    known |= {"stored": left, "accepted": accepted, "erased": 12}
    balanced(up, servers.flags, **known)
    assert servers.naming((MARK, visitor, str(int(visitor, 16)))) == []
    assert in_files(up.data, visitor) == []

    assert up.stop() == 0
    settled = audit(up.data, *servers.flags)[1]

    # Nor does another broker, to which all records are copied, his too.
    new = f"sqlite://{tmp_path}/new.db"
    done = footfall("broker", "move", servers.flags[1], new, "--data", str(up.data), *servers.flags[2:])
    assert done.returncode == 0, done.stderr
    moved = servers._replace(broker=new)
    up = start("--site", site, env=moved.env).wait_ready()
    up.shows({"events": left}, site)
    known = {name: settled[name] for name in (*known, "erased", "duplicate", "beyond_log")}
    balanced(up, moved.flags, **known)
    assert digests(replay(up.data, "--source", "broker", *moved.flags)) == told["archive"]
    up.shows({"events": left}, site)
    assert servers.naming((MARK, visitor, str(int(visitor, 16)))) == []
    assert up.stop() == 0
