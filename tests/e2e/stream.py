"""A stream of known events, and the processes of `up` that may be killed in its middle.

The senders do what a careful client does: each event has an id and is sent again until it is answered with 2xx.
"""

from __future__ import annotations

import http.client
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.harness import SITE, Up, until
from tests.patience import patient

EVENTS = 3_000
VISITORS = 60
BATCH = 20
SENDERS = 3


class Stream:
    """Known events, taken from one list by several senders."""

    def __init__(self, up: Up, site: str = SITE) -> None:
        self.up = up
        self.acked = 0
        self.retries = 0
        sites = tomllib.loads((up.data / "sites.toml").read_text())["site"]
        self._key = next(known["key"] for known in sites if known["domain"] == site)
        # Each visitor comes every minute, hence in one visit; the last of them now.
        begin = time.time_ns() // 1_000_000 - EVENTS // VISITORS * 60_000
        events = [
            {
                "site": site,
                "type": "pageview",
                "url": f"https://{site}/{n}" + ("?q=term" if n % 10 == 0 else ""),
                "visitor": f"v{n % VISITORS}",
                "ts": begin + n // VISITORS * 60_000,
                "id": f"event-{n}",
            }
            for n in range(EVENTS)
        ]
        # The first event of a batch is the last of the one before, sent once more.
        self._batches = [events[max(0, n - 1) : n + BATCH] for n in range(0, EVENTS, BATCH)]
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def reach(self, share: float) -> None:
        until(lambda: self.acked >= share * EVENTS, f"{share:.0%} of the events are taken", patient(240))

    def join(self) -> None:
        for thread in self._threads:
            thread.join(patient(240))
            assert not thread.is_alive(), "a sender waits for an answer in vain"

    def _send(self) -> None:
        while True:
            with self._lock:
                if not self._batches:
                    return
                batch = self._batches.pop(0)
            while not self._taken(batch):
                with self._lock:
                    self.retries += 1
                time.sleep(0.1)
            with self._lock:
                self.acked += BATCH

    def _taken(self, batch: list[dict[str, Any]]) -> bool:
        try:
            status, _, answer = self.up.post({"events": batch}, {"Authorization": f"Bearer {self._key}"})
        except (OSError, http.client.HTTPException):  # nobody listens, or died with the answer in its mouth
            return False
        assert status in (202, 503), answer
        return status == 202


def children(of: int) -> list[int]:
    """Living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == of and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def master(up: Up, role: str) -> int:
    """The child of the supervisor that serves this role; it may be starting just now."""

    def one() -> int | None:
        for pid in children(up.process.pid):
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if role.encode() in arguments:
                return pid
        return None

    return int(until(one, f"there is a process of {role}"))


def worker(up: Up, role: str) -> int:
    """The worker beneath it."""
    return int(until(lambda: (children(master(up, role)) or [0])[0], f"{role} has a worker"))


VICTIMS: dict[str, Callable[[Up], int]] = {
    "supervisor": lambda up: up.process.pid,
    "tracking master": lambda up: master(up, "tracking"),
    "tracking worker": lambda up: worker(up, "tracking"),
    "core master": lambda up: master(up, "core"),
    "core worker": lambda up: worker(up, "core"),
    "all of it": lambda up: -up.process.pid,
}
