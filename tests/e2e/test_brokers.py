"""One walk on every broker: only the URL differs, and the digests of the sessions are equal everywhere.

Known visits are told to `POST /collect` with their own ids, visitors and times, a log is imported, `up` is stopped in
the middle and started again, the first batches are sent twice. The numbers are counted here from what was sent; the
digests are those of the first broker, and of the script that reads the Parquet archive alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.e2e.harness import AGENT, ALWAYS, SITE, Up, footfall, until
from tests.e2e.proof import by_script, digests, flushed, replay
from tests.servers import pulsar

pytestmark = pytest.mark.slow

MINUTE = 60_000
VISITORS = 30
KEY = "a-key-that-every-run-shares"
SITES = f'[[site]]\ndomain = "{SITE}"\nkey = "{KEY}"\n'

# How each broker is named; the fixture gives the address. `memory://` is one process's own, so `up` cannot have it.
# Kafka's other client walks in `test_kafka_redis.py` and `test_broker_move.py`.
BROKERS = {
    "kafka": ("kafka", "kafka://{}"),
    "warpstream": ("kafka", "warpstream://{}?zone=a"),
    "pulsar": ("pulsar", ""),
}


class Walk(NamedTuple):
    """What a broker made of it: the page's numbers and the digest of each day."""

    page: dict[str, Any]
    digests: dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def sent() -> list[dict[str, Any]]:
    """Two visits of each visitor, an hour apart: pages, a search, a custom event, engagement.

    All are young enough to be in the numbers at once, also in the last of the walks."""
    now = time.time_ns() // 1_000_000
    found = []
    for n in range(VISITORS):
        for back in (80, 20):
            at = now - (back - n % 7) * MINUTE
            steps: list[dict[str, Any]] = [
                {"type": "pageview", "url": f"https://{SITE}/{n % 5}", "referrer": "https://news.example.net/x"},
                {"type": "pageview", "url": f"https://{SITE}/find?q=ünï+{n % 3}"},
                {"type": "custom", "name": "signup", "url": f"https://{SITE}/a", "props": {"plan": "team"}},
                {"type": "engagement", "url": f"https://{SITE}/a", "engaged_ms": 4_321},
            ]
            for step, event in enumerate(steps[: 1 + n % 4]):
                named = {"site": SITE, "visitor": f"v{n}", "ts": at + step * 1_000, "id": f"{n}-{back}-{step}"}
                found.append(event | named)
    return found


def counted(sent: list[dict[str, Any]]) -> dict[str, int]:
    """The page's numbers of what was sent; a page view whose address holds a search is a search too."""
    pages = [event for event in sent if event["type"] == "pageview"]
    searches = sum("?q=" in event["url"] for event in pages)
    return {
        "visitors": VISITORS,
        "visits": 2 * VISITORS,
        "pageviews": len(pages),
        "searches": searches,
        "events": len(sent) + searches,
    }


def walk(folder: Path, shared: Path, url: str, sent: list[dict[str, Any]]) -> Walk:
    """The whole of it on one broker. `shared` has the keys under which visitors are hashed."""
    folder.mkdir()
    (shared / "sites.toml").write_text(SITES)
    parts = {"FOOTFALL_SITES": str(shared / "sites.toml"), "FOOTFALL_LIVE": str(shared / "live")}
    if url:
        parts["FOOTFALL_BROKER"] = url
    data, up = folder / "data", None
    half = len(sent) // 2
    try:
        up = Up(data, env=parts).wait_ready()
        for begin in range(0, half, 20):
            up.send(sent[begin : min(begin + 20, half)], KEY)
        assert up.stop() == 0
        up = Up(data, env=parts).wait_ready()
        up.send(sent[:20], KEY)
        for begin in range(half, len(sent), 20):
            up.send(sent[begin : begin + 20], KEY)
        numbers = counted(sent)
        up.shows(numbers)

        log = folder / "access.log"
        stamp = "05/Mar/2024:10:{:02}:00 +0000"
        line = '203.0.113.{} - - [{}] "GET /old/{} HTTP/1.1" 200 1 "-" "{}"\n'
        log.write_text("".join(line.format(n % 9, stamp.format(n), n, AGENT) for n in range(60)))
        done = footfall("import", str(log), "--site", SITE, "--data", str(data), env=parts)
        assert done.returncode == 0, done.stderr
        assert up.stats(**ALWAYS)["pageviews"] == numbers["pageviews"] + 60

        assert footfall("reconcile", "--data", str(data), env=parts).returncode == 0
        lists = ("page", "entry_page", "exit_page", "source", "search", "device", "browser")
        page = {by: up.api("breakdown", by=by, **ALWAYS)["rows"] for by in lists} | {"stats": up.stats(**ALWAYS)}
        told = []
        for source in ("broker", "archive"):
            reports = replay(data, "--source", source, env=parts)
            assert [report["equal"] for report in reports] == [True] * len(reports)
            told.append(digests(reports))
        assert told[0] == told[1]
        flushed(data)
        assert by_script(data) == told[0]
        assert up.stop() == 0
    finally:
        if up:
            up.end()
    assert (data / "log.db").exists() == (not url)
    return Walk(page, told[0])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, shared: Path, sent: list[dict[str, Any]]) -> Walk:
    return walk(tmp_path_factory.mktemp("walk") / "embedded", shared, "", sent)


def without_topics(address: str) -> None:
    """Kafka without topics of ours: no other test's events are in the walk."""
    admin = KafkaAdminClient(bootstrap_servers=address)

    def ours() -> list[str]:
        return [name for name in admin.list_topics() if name.startswith("footfall.")]

    try:
        if found := ours():
            admin.delete_topics(found)
        until(lambda: not ours(), "the topics are deleted")
    except KafkaError as error:
        raise AssertionError(f"{address} keeps its topics: {error}") from error
    finally:
        admin.close()


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    fixture, pattern = BROKERS[request.param]
    address = request.getfixturevalue(fixture)
    if fixture == "pulsar":  # a namespace of its own, which the adapter makes
        yield pulsar.url(address, f"public/walk-{time.time_ns()}")
        return
    without_topics(address)
    yield pattern.format(address)
    without_topics(address)


def test_the_embedded_log_gives_what_was_counted(embedded: Walk) -> None:
    """`walk` holds it against what was sent; the other brokers are held against this."""
    assert embedded.digests


@pytest.mark.real
@pytest.mark.parametrize("url", BROKERS, indirect=True)
def test_the_same_walk_gives_the_same_digests(
    tmp_path: Path, shared: Path, url: str, sent: list[dict[str, Any]], embedded: Walk
) -> None:
    assert walk(tmp_path / "walk", shared, url, sent) == embedded
