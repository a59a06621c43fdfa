"""Traffic that is accounted for: senders that know each event they send, and send it until it is taken."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from tests.e2e.harness import AGENT, SITE, Up
from tests.patience import patient

KEY = "a-key-of-the-soak-alone"
VISITORS = 400
SENDERS = 2
PAUSE = 0.03  # seconds between two batches of a sender, so that a small machine keeps up
HOUR, DAY = 3_600_000, 86_400_000
GARBAGE = (b"\xff\xfe no json", b"[1, 2", b'{"site": 5}', b'{"events": [{}]}', b"")


class Account:
    """What the generator knows. Only events of acknowledged batches count; every batch is sent until it is.

    `now_ms` is the clock of those who receive."""

    def __init__(self, seed: int, now_ms: Callable[[], int]) -> None:
        self.lock = threading.Lock()
        self.dice = random.Random(seed)
        self.events: dict[str, dict[str, Any]] = {}  # by path, which is an event's own
        self.told: Counter[str] = Counter()
        self._numbers = iter(range(10**9))
        self._now_ms = now_ms

    def batch(self) -> list[dict[str, Any]]:
        """The next events, of visitors whom the sender names."""
        with self.lock:
            return [self._event() for _ in range(self.dice.randint(1, 40))]

    def _event(self) -> dict[str, Any]:
        dice, number, now = self.dice, next(self._numbers), self._now_ms()
        kind = dice.choices(("pageview", "custom", "search"), (8, 2, 1))[0]
        at = now - dice.randrange(0, 60_000)
        if dice.random() < 0.1:
            at = now - dice.randrange(HOUR, 72 * HOUR)
            self.told["late"] += 1
        elif kind == "custom" and dice.random() < 0.2:
            at = now + dice.randrange(60_000, 2 * HOUR)
            self.told["early"] += 1
        event = self._page(kind, number) | {"visitor": f"v{dice.randrange(VISITORS)}", "ts": at}
        if kind == "search":
            event["search"] = {"term": f"term {number % 11}"}
        return event | ({"name": "order"} if kind == "custom" else {})

    def _page(self, kind: str, number: int) -> dict[str, Any]:
        return {"site": SITE, "type": kind, "url": f"https://{SITE}/{number % 23}/{number}", "id": f"soak-{number}"}

    def beacon(self) -> tuple[dict[str, Any], str] | None:
        """A page view as a browser sends it, and its UTC day: its visitor has another id every day.

        None around midnight, when a visit may go on, and the day may be over before the page view is taken."""
        now = self._now_ms()
        if not 2 * HOUR < now % DAY < DAY - HOUR // 4:
            return None
        with self.lock:
            number = next(self._numbers)
        return self._page("pageview", number), datetime.fromtimestamp(now / 1000, UTC).date().isoformat()

    def acknowledge(self, events: list[dict[str, Any]]) -> None:
        with self.lock:
            self.events |= {event["url"].removeprefix(f"https://{SITE}"): event for event in events}

    def note(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.told[what] += number

    def numbers_of_the_page(self) -> dict[str, float]:
        """What the page has to show of all time."""
        kinds = Counter(event["type"] for event in self.events.values())
        visitors = {event.get("visitor", event.get("day")) for event in self.events.values()}
        return {
            "events": len(self.events), "pageviews": kinds["pageview"], "searches": kinds["search"],
            "visitors": len(visitors),
        }  # fmt: skip

    def page_views_by_day(self) -> dict[str, int]:
        views = (event for event in self.events.values() if event["type"] == "pageview")
        return dict(Counter(event.get("day") or _day(event["ts"]) for event in views))


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()


class Traffic:
    """Senders that go on until `stop`, against whatever `up` is there."""

    def __init__(self, up: Up, account: Account) -> None:
        self.up = up
        self._account = account
        self._stopped = threading.Event()
        self._failed: list[BaseException] = []
        self._turns = [threading.Lock() for _ in range(SENDERS)]
        self._sent: list[list[list[dict[str, Any]]]] = [[] for _ in range(SENDERS)]
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Back when every batch that was begun is acknowledged. Raises what a sender raised."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(patient(240))
            assert not thread.is_alive(), "a sender waits for an answer in vain"
        self.check()

    def give_up(self) -> None:
        """Let the senders end, whatever becomes of what they send."""
        self._stopped.set()

    def check(self) -> None:
        """Raises what a sender raised."""
        for error in self._failed:
            raise error

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Every batch is acknowledged, and none of them is sent again."""
        with ExitStack() as stack:
            for turn in self._turns:
                assert turn.acquire(timeout=patient(240)), "a sender waits for an answer in vain"
                stack.callback(turn.release)
            for sent in self._sent:
                sent.clear()
            yield

    def _run(self, sender: int) -> None:
        try:
            sent = self._sent[sender]
            while not self._stopped.wait(PAUSE):
                with self._turns[sender]:
                    self._once(sent)
        except BaseException as error:
            self._failed.append(error)

    def _once(self, sent: list[list[dict[str, Any]]]) -> None:
        account = self._account
        account.note("garbage", self._garbage())
        batch = account.batch()
        self._send(batch)
        account.acknowledge(batch)
        sent.append(batch)
        del sent[:-50]
        if len(batch) % 5 == 0:
            again = sent[len(sent) // 2]
            self._send(again)
            account.note("duplicates", len(again))
        if len(batch) % 4 == 0 and (found := account.beacon()):
            page, day = found
            self._send([page], {"User-Agent": AGENT})
            account.acknowledge([page | {"day": day}])
            account.note("beacons")

    def _send(self, batch: list[dict[str, Any]], headers: dict[str, str] | None = None) -> None:
        while True:
            try:
                given = headers or {"Authorization": f"Bearer {KEY}"}
                status, _, answer = self.up.post({"events": batch}, given)
            except (OSError, http.client.HTTPException):  # nobody listens, or died with the answer in its mouth
                status, answer = 0, {}
            if status == 202:
                assert answer["accepted"] + answer["duplicates"] == len(batch), answer
                return
            assert status in (0, 503), answer
            self._account.note("refused for now" if status else "tried again")
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
