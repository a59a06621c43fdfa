"""`./dev soak --minutes N`: traffic that is accounted for, while every process is killed at random.

A generator knows each event that it sends: it sends batches until they are answered with 2xx, some of them once more,
some with late or early events, and garbage between them. Meanwhile processes of `up` are killed by SIGKILL, one at a
time or all at once. In the end every event is stored exactly once, the numbers of the page are those of the
generator, and live run, broker and archive have the same digests. Imports nothing of the product. The seed tells what
is sent and killed; which requests a kill hits does not follow from it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.e2e.harness import ALWAYS, SITE, Up, footfall
from tests.e2e.proof import assert_rollups_equal_a_group_by, by_script, digests, flushed, replay
from tests.e2e.stream import VICTIMS
from tests.patience import patient

KEY = "a-key-of-the-soak-alone"
SITES = f'limits = false\n\n[[site]]\ndomain = "{SITE}"\nkey = "{KEY}"\n'
VISITORS = 400
SENDERS = 2
PAUSE = 0.03  # seconds between two batches of a sender, so that a small machine keeps up
BETWEEN_KILLS = (3.0, 9.0)  # seconds
HOUR = 3_600_000
GARBAGE = (b"\xff\xfe no json", b"[1, 2", b'{"site": 5}', b'{"events": [{}]}', b"")


class Account:
    """What the generator knows. Only events of acknowledged batches count; every batch is sent until it is."""

    def __init__(self, seed: int) -> None:
        self.lock = threading.Lock()
        self.numbers = iter(range(10**9))
        self.dice = random.Random(seed)
        self.events: dict[str, dict[str, Any]] = {}  # by path, which is an event's own
        self.told: Counter[str] = Counter()

    def batch(self) -> list[dict[str, Any]]:
        """The next events."""
        with self.lock:
            return [self._event() for _ in range(self.dice.randint(1, 40))]

    def _event(self) -> dict[str, Any]:
        dice, number, now = self.dice, next(self.numbers), time.time_ns() // 1_000_000
        kind = dice.choices(("pageview", "custom", "search"), (8, 2, 1))[0]
        at = now - dice.randrange(0, 60_000)
        if dice.random() < 0.1:
            at = now - dice.randrange(HOUR, 72 * HOUR)
            self.told["late"] += 1
        elif kind == "custom" and dice.random() < 0.2:
            at = now + dice.randrange(60_000, 2 * HOUR)
            self.told["early"] += 1
        event = {
            "site": SITE, "type": kind, "url": f"https://{SITE}/{number % 23}/{number}", "id": f"soak-{number}",
            "visitor": f"v{dice.randrange(VISITORS)}", "ts": at,
        }  # fmt: skip
        if kind == "search":
            event["search"] = {"term": f"term {number % 11}"}
        return event | ({"name": "order"} if kind == "custom" else {})

    def acknowledge(self, events: list[dict[str, Any]]) -> None:
        with self.lock:
            self.events |= {event["url"].removeprefix(f"https://{SITE}"): event for event in events}

    def note(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.told[what] += number

    def numbers_of_the_page(self) -> dict[str, float]:
        """What the page has to show of all time."""
        kinds = Counter(event["type"] for event in self.events.values())
        visitors = {event["visitor"] for event in self.events.values()}
        return {
            "events": len(self.events), "pageviews": kinds["pageview"], "searches": kinds["search"],
            "visitors": len(visitors),
        }  # fmt: skip

    def page_views_by_day(self) -> dict[str, int]:
        views = (event["ts"] for event in self.events.values() if event["type"] == "pageview")
        return dict(Counter(datetime.fromtimestamp(at / 1000, UTC).date().isoformat() for at in views))


class Traffic:
    """Senders that go on until `stop`, against whatever `up` is there."""

    def __init__(self, up: Up, account: Account) -> None:
        self.up = up
        self._account = account
        self._stopped = threading.Event()
        self._failed: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Back when every batch that was begun is acknowledged. Raises what a sender raised."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(patient(240))
            assert not thread.is_alive(), "a sender waits for an answer in vain"
        for error in self._failed:
            raise error

    def _run(self) -> None:
        try:
            sent: list[list[dict[str, Any]]] = []
            while not self._stopped.wait(PAUSE):
                self._account.note("garbage", self._garbage())
                batch = self._account.batch()
                self._send(batch)
                self._account.acknowledge(batch)
                sent = [*sent[-50:], batch]
                if len(batch) % 5 == 0:
                    again = sent[len(sent) // 2]
                    self._send(again)
                    self._account.note("duplicates", len(again))
        except BaseException as error:
            self._failed.append(error)

    def _send(self, batch: list[dict[str, Any]]) -> None:
        while True:
            try:
                status, _, answer = self.up.post({"events": batch}, {"Authorization": f"Bearer {KEY}"})
            except (OSError, http.client.HTTPException):  # nobody listens, or died with the answer in its mouth
                status, answer = 0, {}
            if status == 202:
                assert answer["accepted"] + answer["duplicates"] == len(batch), answer
                return
            assert status in (0, 503), answer
            self._account.note("tried again")
            time.sleep(0.1)

    def _garbage(self) -> int:
        with self._account.lock:
            body = self._account.dice.choice((*GARBAGE, *[None] * 20))
        if body is None:
            return 0
        try:
            status, _, _ = self.up.post(body)
        except (OSError, http.client.HTTPException):
            return 0
        assert status in (400, 403, 503), (status, body)
        return 1


def soak(data: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Run it on an empty folder; returns the figures. Raises AssertionError where the account does not balance."""
    data.mkdir(mode=0o700)
    (data / "sites.toml").write_text(SITES)
    account, dice = Account(seed), random.Random(f"kills {seed}")
    up = Up(data)
    traffic = None
    try:
        up.wait_ready()
        begun = time.monotonic()
        traffic = Traffic(up, account)
        for victim in _victims(dice, begun + seconds):
            account.note(f"kill -9 of {victim}")
            pid = VICTIMS[victim](up)
            os.kill(pid, signal.SIGKILL) if pid > 0 else os.killpg(-pid, signal.SIGKILL)
            if victim in ("supervisor", "all of it"):
                up.gone()
                traffic.up = up = Up(data).wait_ready()
        traffic.stop()
        traffic, stopped = None, time.monotonic()
        told = _judged(up, account)
        assert up.stop() == 0
        figures = {"seed": seed, "seconds": round(stopped - begun, 1), **account.numbers_of_the_page()}
        return figures | told | dict(sorted(account.told.items()))
    finally:
        if traffic is not None:
            traffic._stopped.set()
        up.end()


def _victims(dice: random.Random, until_then: float) -> Iterator[str]:
    """Whom to kill now, one after the other, at random times; each once before any is killed again."""
    left: list[str] = []
    while (wait := dice.uniform(*BETWEEN_KILLS)) < until_then - time.monotonic():
        time.sleep(wait)
        left = left or dice.sample(sorted(VICTIMS), len(VICTIMS))
        yield left.pop()
    time.sleep(max(0.0, until_then - time.monotonic()))


def _judged(up: Up, account: Account) -> dict[str, Any]:
    """Compare what is stored with the account; returns figures of it."""
    begun = time.monotonic()
    expected = account.numbers_of_the_page()
    up.shows(expected, seconds=patient(180))
    drained = time.monotonic() - begun
    rows = up.sql("SELECT path, count() AS copies FROM events GROUP BY path")
    stored = {row["path"]: int(row["copies"]) for row in rows}
    lost, strange = account.events.keys() - stored.keys(), stored.keys() - account.events.keys()
    twice = [path for path, copies in stored.items() if copies != 1]
    assert (sorted(lost)[:5], sorted(strange)[:5], twice[:5]) == ([], [], [])
    done = footfall("reconcile", "--data", str(up.data))
    assert done.returncode == 0, done.stderr
    up.shows(expected, seconds=patient(30))
    by_day = account.page_views_by_day()
    assert {day: up.stats(first=day, last=day)["pageviews"] for day in by_day} == by_day
    assert_rollups_equal_a_group_by(up)
    flushed(up.data)
    found = {source: replay(up.data, "--dry-run", "--source", source) for source in ("broker", "archive")}
    for reports in found.values():
        assert [report["differs"] for report in reports] == [[]] * len(reports)
        assert sum(report["events"] for report in reports) == len(account.events)
    assert digests(found["broker"]) == digests(found["archive"]) == by_script(up.data)
    assert up.stats(**ALWAYS)["visits"] == sum(report["sessions"] for report in found["broker"])
    sessions = sum(report["sessions"] for report in found["broker"])
    return {"sessions": sessions, "days": len(by_day), "seconds_to_drain": round(drained, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="how long traffic and kills go on (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="what is sent and killed; printed, random if not given")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON line")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    sys.stderr.write(f"soak: {given.minutes:g} min, seed {seed}\n")
    folder = Path(tempfile.mkdtemp(prefix="footfall-soak-"))
    try:
        figures = soak(folder / "data", given.minutes * 60, seed)
    except AssertionError as error:
        sys.stderr.write(f"soak: not as it should be: {error}\nsoak: the folder is kept: {folder}\n")
        return 1
    shutil.rmtree(folder)
    told = json.dumps(figures) if given.json else "\n".join(f"{name}: {value:,}" for name, value in figures.items())
    sys.stdout.write(told + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
