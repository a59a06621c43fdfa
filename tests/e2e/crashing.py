"""Crashes of `up` at points of its code, and a traffic with an account of its own.

The product has nothing of it: a `sitecustomize` on the path of its processes watches the functions (see
`tests/e2e/crash/sitecustomize.py`). One order is open at a time, and it is carried out once, whichever process of `up`
comes to that call; what was killed alone is started again by the processes above it."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.e2e.harness import AGENT, ROOT, SITE, Up, secret_key, until
from tests.patience import patient

BATCH = 15
PACE = 0.1  # seconds between two batches: 150 events a second
MISUNDERSTOOD = 90  # bodies at most: a process keeps 100 of no known site in an hour, and only counts others
VISITORS = 300
A_WHILE = patient(120)


@dataclass(frozen=True)
class Crash:
    """Kill the process before or after the `nth` call of a function, `module:Class.method`, that hands over rows, if
    any, and that `about` is part of the arguments of. `whole`: kill its group."""

    point: str
    when: str
    about: str = ""
    nth: int = 1
    whole: bool = False


class Crashes:
    """Makes crashes happen in the processes that are started with `env`."""

    def __init__(self, folder: Path, points: Iterable[str]) -> None:
        folder.mkdir()
        (folder / "points").write_text("\n".join(sorted(set(points))))
        self._order, self._fired = folder / "order", folder / "fired"
        path = os.pathsep.join([str(Path(__file__).with_name("crash")), str(ROOT)])
        self.env = {"FOOTFALL_TEST_CRASH": str(folder), "PYTHONPATH": path}

    def order(self, crash: Crash) -> None:
        """From now on the crash may happen."""
        assert not self._order.exists()
        self._fired.unlink(missing_ok=True)
        draft = self._order.with_suffix(".new")
        draft.write_text(json.dumps(asdict(crash)))
        draft.replace(self._order)

    def happened(self) -> bool:
        return self._fired.exists()

    def wait(self, crash: Crash) -> None:
        """Until it has happened."""
        until(self.happened, f"{crash} happens", A_WHILE)


class Traffic:
    """Page views and custom events as they come, 150 a second where the machine can, each sent until it is taken.

    It knows what was taken: only a 202 counts. The first event of a batch is the last of the one before, once more,
    and now and then a body is sent that nobody can understand."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.taken = self.pageviews = 0
        self.refused = self.refused_at_most = 0
        self._key = secret_key(up.data)
        self._over, self._turn = threading.Event(), threading.Lock()
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def flowing(self) -> Iterator[Traffic]:
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join(A_WHILE)
        assert not self._errors, self._errors

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Everything is answered, and nothing more is sent."""
        with self._turn:
            assert not self._errors, self._errors
            yield

    def more(self, events: int) -> None:
        """Until so many more are taken."""
        upto = self.taken + events
        until(lambda: self.taken >= upto or self._errors, f"{events} more events are taken", A_WHILE)

    def send(self, events: list[dict[str, Any]]) -> None:
        """Send a batch until it is taken."""
        body = json.dumps({"events": events}).encode()
        until(lambda: self._answer(body) == 202, "a batch is taken", A_WHILE)
        self.taken += len(events)
        self.pageviews += sum(event["type"] == "pageview" for event in events)

    def _run(self) -> None:
        try:
            number = 0
            last: list[dict[str, Any]] = []
            while not self._over.wait(PACE):
                with self._turn:
                    batch = [self._event(n) for n in range(number, number + BATCH)]
                    self.send(last + batch)
                    self.taken -= len(last)
                    self.pageviews -= sum(event["type"] == "pageview" for event in last)
                    last, number = batch[-1:], number + BATCH
                    if number % (40 * BATCH) == 0 and self.refused_at_most < MISUNDERSTOOD:
                        until(self._misunderstood, "a body is refused", A_WHILE)
        except BaseException as error:
            self._errors.append(error)

    def _event(self, number: int) -> dict[str, Any]:
        kind = {"type": "custom", "name": "signup"} if number % 7 == 0 else {"type": "pageview"}
        return kind | {
            "site": SITE,
            "url": f"https://{SITE}/{number % 40}?n={number}",
            "visitor": f"v{number % VISITORS}",
            "id": f"event-{number}",
        }

    def _misunderstood(self) -> bool:
        self.refused_at_most += 1
        if self._answer(json.dumps({"site": SITE, "type": "pageview"}).encode()) != 400:
            return False
        self.refused += 1
        return True

    def _answer(self, body: bytes) -> int:
        """The status, 0 where there was no answer. Any other than these is an error of the test."""
        try:
            status, _, answer = self.up.post(body, {"Authorization": f"Bearer {self._key}", "User-Agent": AGENT})
        except (OSError, http.client.HTTPException):
            return 0
        assert status in (202, 400, 503), answer
        return status
