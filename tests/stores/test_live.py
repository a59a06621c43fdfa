"""One contract for both: the folder of one process, and Redis, which is real here."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import stores
from stores.base import Live, StoreUnreachable, Unreadable, Unusable
from tests.patience import patient

NOW = 1_711_900_000_000


@pytest.fixture(params=["folder", "redis"])
def live_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path}/live"
    return f"{request.getfixturevalue('redis_url')}?prefix={tmp_path.parent.name}-{tmp_path.name}:"


@pytest.fixture
def live(live_url: str) -> Iterator[Live]:
    opened = stores.connect_live(live_url)
    yield opened
    opened.close()


def test_a_day_has_one_salt_in_every_process_and_after_a_restart(live: Live, live_url: str) -> None:
    script = "import sys, stores; print(stores.connect_live(sys.argv[1]).salt('2099-01-02').hex())"
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script, live_url],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(3)
    ]
    salts = {run.communicate(timeout=patient(60))[0].strip() for run in runs} | {live.salt("2099-01-02").hex()}
    assert len(salts) == 1
    assert len(bytes.fromhex(salts.pop())) == 16
    assert live.salt("2099-01-03") != live.salt("2099-01-02")
    with pytest.raises(ValueError, match="isoformat"):
        live.salt("../../x")


def test_a_site_keeps_its_import_key(live: Live, live_url: str) -> None:
    key = live.import_key("a.example")
    assert len(key) == 16
    again = stores.connect_live(live_url)
    assert again.import_key("a.example") == key
    assert again.import_key("../b") != key
    again.close()


def test_what_was_remembered_is_seen(live: Live) -> None:
    assert live.seen([]) == []
    live.remember({b"a\xff": b"1", b"b": b""})
    assert live.seen([b"b", b"nothing", b"a\xff"]) == [b"", None, b"1"]
    live.remember({b"b": b"2"})
    assert live.seen([b"b"]) == [b"2"]


def test_current_visitors_are_those_of_five_minutes(live: Live) -> None:
    minute = 60_000
    live.touch_many(
        [
            ("a.example", "v1", NOW - 4 * minute),
            ("a.example", "v1", NOW - 3 * minute),
            ("a.example", "v2", NOW),
            ("a.example", "old", NOW - 5 * minute),
            ("b.example", "v1", NOW),
        ]
    )
    live.touch_many([("a.example", "v3", NOW - minute)])
    assert live.current("a.example", NOW) == 3
    assert live.current("b.example", NOW) == 1
    assert live.current("c.example", NOW) == 0
    assert live.current("a.example", NOW + 3 * minute) == 2
    live.touch_many([("a.example", "v2", NOW - 10 * minute)])
    assert live.last_active("a.example", "v2") == NOW
    assert live.last_active("a.example", "nobody") is None
    assert live.last_active("c.example", "v1") is None


def test_who_was_active_before_the_clock_was_set_back_is_active_now(live: Live) -> None:
    day = 86_400_000
    live.touch_many([("a.example", "v1", NOW + day), ("a.example", "gone", NOW + day)])
    live.touch_many([("a.example", "v1", NOW), ("a.example", "v2", NOW)])
    assert live.current("a.example", NOW) == 2
    assert live.last_active("a.example", "v1") == NOW


def test_who_is_forgotten_is_not_active(live: Live) -> None:
    live.touch_many([("a.example", "v1", NOW), ("a.example", "v2", NOW), ("b.example", "v1", NOW)])
    live.forget("a.example", ["v1", "nobody"])
    live.forget("c.example", [])
    assert (live.last_active("a.example", "v1"), live.last_active("b.example", "v1")) == (None, NOW)
    assert live.current("a.example", NOW) == 1


def test_a_folder_forgets_salts(tmp_path: Path) -> None:
    live = stores.connect_live(str(tmp_path))
    live.salt("2020-05-05")
    live.salt("2099-01-01")
    stored = tmp_path / "salts" / "2020-05-05"
    assert stored.stat().st_mode & 0o777 == 0o600
    os.utime(stored, (1, 1))
    live.salt("2099-01-02")
    assert sorted(path.name for path in (tmp_path / "salts").iterdir()) == ["2099-01-01", "2099-01-02"]
    (tmp_path / "keys" / "c.example.key").write_bytes(b"short")
    with pytest.raises(Unreadable, match="5 bytes instead of 20; put it back from a copy, or delete it"):
        live.import_key("c.example")


def test_active_visitors_do_not_grow_for_ever(tmp_path: Path) -> None:
    live = stores.connect_live(str(tmp_path))
    for hour in range(4):
        live.touch_many(("a.example", f"{hour}-{n}", NOW + hour * 3_600_000 + n) for n in range(10_000))
    assert live.last_active("a.example", "0-1") is None
    assert live.last_active("a.example", "3-1") == NOW + 3 * 3_600_000 + 1


def test_a_bare_client_reads_what_redis_holds(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    live = stores.connect_live(f"{redis_url}?prefix=bare:")
    live.touch_many([("a.example", "v1", NOW)])
    live.remember({b"k": b"v"})
    salt = live.salt("2020-01-01")
    assert client.zscore("bare:active:a.example", "v1") == NOW
    assert client.get("bare:seen:k") == b"v"
    assert 0 < client.ttl("bare:seen:k") <= 86_400
    assert client.get("bare:salt:2020-01-01") == salt
    assert 0 < client.ttl("bare:salt:2020-01-01") <= 48 * 3600
    live.close()
    client.close()


def test_wrong_urls_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="the live store is a folder"):
        stores.connect_live("s3://x/y")
    with pytest.raises(Unusable, match="unknown option rate; it has none"):
        stores.connect_live(f"file://{tmp_path}?rate=lots")
    with pytest.raises(Unusable, match="unknown option colour; known: prefix"):
        stores.connect_live("redis://127.0.0.1:1/0?colour=red")


def test_without_redis_a_process_goes_on_with_what_it_knows() -> None:
    away = stores.connect_live("redis://127.0.0.1:1/0")
    assert away.seen([b"x"]) == [None]
    assert "Retry later" in away.problem
    away.remember({b"x": b"1"})
    assert away.seen([b"x", b"y"]) == [b"1", None]
    away.touch_many([("a.example", "v1", NOW)])
    assert (away.current("a.example", NOW), away.last_active("a.example", "v1")) == (1, NOW)
    assert away.salt("2099-01-01") == away.salt("2099-01-01") != away.salt("2099-01-02")
    assert away.add_up([("a", 1, 60)]) is None
    # What cannot be known is said, not made up.
    with pytest.raises(StoreUnreachable, match="Retry later"):
        away.last_active("a.example", "v2")
    with pytest.raises(StoreUnreachable, match="Retry later"):
        away.import_key("a.example")
    away.close()


def test_what_a_process_remembers_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.live.MAX_REMEMBERED", 400)
    live = stores.connect_live(str(tmp_path))
    for number in range(5_000):
        live.remember({f"{number}{'x' * 8_000}".encode(): str(number).encode()})
    found = live.seen([f"{number}{'x' * 8_000}".encode() for number in range(5_000)])
    known = [number for number, value in enumerate(found) if value is not None]
    assert 300 <= len(known) <= 400
    assert known == list(range(5_000 - len(known), 5_000))  # the latest
    assert found[-1] == b"4999"


def test_a_flood_of_visitors_costs_the_flooded_site_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.live.MAX_VISITORS", 1_000)
    live = stores.connect_live(str(tmp_path))
    live.touch_many(("small.example", f"v{n}", NOW) for n in range(5))
    tracemalloc.start()
    live.touch_many(("big.example", f"{n}{'x' * 800}", NOW + n) for n in range(20_000))
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 2_000_000  # of 16 MB
    assert live.current("small.example", NOW) == 5
    assert 500 <= live.current("big.example", NOW + 20_000) <= 1_000
