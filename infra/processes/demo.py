"""`up --demo`: the visitors of a made-up shop (`infra.processes.shop`), sent the way any server would send them.

They go to `POST /collect` with the site's secret key, which allows it to name times, visitors and agents. First the
last two months are sent up to now, then each event when its time has come. The demo uses the public interface and
nothing else, but that it has the days rebuilt at once whose visits came late.

A file in the data folder keeps the shop's first day and up to when all was sent, so a next start goes on there. What it
sends again by mistake has the same ids and adds nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click
import msgspec

from infra import addresses
from infra.processes import control, shop
from infra.processes.shop import Happening
from infra.settings import Settings

DAYS = 61  # so that 30 days can be compared with the 30 before
_FILE = "demo.json"
_AGAIN_MS = 600_000  # what a next start sends again, for what was under way when the last one ended
_TOLD_EVERY = 10  # days
_AT_ONCE = 1_000  # events: as many as a request may have
_KEPT_EVERY = 60_000  # ms


class State(msgspec.Struct):
    """How far the demo of a site is: the shop's first day, and up to when (Unix ms) all was sent."""

    site: str
    since: date
    until: int


def run(settings: Settings, site: str, key: str, follow: int) -> None:
    """Sends visits until the pipe `follow` closes, because the parent closed it or is gone."""
    sender = _Sender(f"{addresses.address(settings.host, settings.port)}/collect", key, follow)
    file = settings.data / _FILE
    now = _now()
    state = _read(file, site) or State(site, _day(now) - timedelta(days=DAYS), 0)
    pending = _catch_up(state, sender, now)
    if pending is None:
        return
    _keep(file, state)
    # Most of these visits happened days ago: rebuild their days now rather than at the next round.
    if (found := control.find(settings.data)) is not None:
        for verb in ("load", "reconcile"):
            for _ in found.call(verb, {}):
                pass
    click.echo("footfall: the demo's two months are in the numbers; its visitors come as time goes by", err=True)
    made = _day(now)
    while not sender.ends(1.0):
        now = _now()
        while made < _day(now):
            made += timedelta(days=1)
            pending = deque(sorted([*pending, *shop.happenings(site, state.since, made)], key=lambda each: each.at))
        due = []
        while pending and pending[0].at <= now:
            due.append(pending.popleft())
        if not sender.send(due):
            return
        if now - state.until > _KEPT_EVERY:
            state.until = now
            _keep(file, state)


def _catch_up(state: State, sender: _Sender, now: int) -> deque[Happening] | None:
    """Sends what has happened up to `now` and was not sent yet, and returns what of today is still to come.

    Returns None if the parent is gone."""
    after, today = state.until - _AGAIN_MS, _day(now)
    day = max(today - timedelta(days=DAYS), _day(max(0, state.until)) - timedelta(days=1))
    pending: list[Happening] = []
    days = (today - day).days + 1
    for number in range(days):
        found = shop.happenings(state.site, state.since, day + timedelta(days=number))
        if not sender.send([each for each in found if after < each.at <= now]):
            return None
        pending += [each for each in found if each.at > now]
        if days > _TOLD_EVERY and (number + 1) % _TOLD_EVERY == 0:
            click.echo(f"footfall: demo visitors: {number + 1} of {days} days are sent", err=True)
    state.until = now
    return deque(sorted(pending, key=lambda each: each.at))


class _Sender:
    """Sends events to the tracking port, by the browser that they are of."""

    def __init__(self, collect: str, key: str, follow: int) -> None:
        self._collect = collect
        self._key = key
        self._follow = follow

    def send(self, happened: Iterable[Happening]) -> bool:
        """Sends events, again and again while the port does not take them; returns False if the parent is gone."""
        by_agent: dict[str, list[Happening]] = {}
        for each in happened:
            by_agent.setdefault(each.agent, []).append(each)
        for agent, theirs in by_agent.items():
            for start in range(0, len(theirs), _AT_ONCE):
                while not self._taken(agent, theirs[start : start + _AT_ONCE]):
                    if self.ends(1.0):
                        return False
        return not self.ends(0)

    def ends(self, seconds: float) -> bool:
        """Waits for `seconds`, or until the other end of the pipe closes, which makes it readable."""
        readable, _, _ = select.select([self._follow], [], [], seconds)
        return bool(readable) and not os.read(self._follow, 1)

    def _taken(self, agent: str, some: Iterable[Happening]) -> bool:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json", "User-Agent": agent}
        body = json.dumps({"events": [each.event for each in some]}).encode()
        request = urllib.request.Request(self._collect, body, headers)  # noqa: S310 - our own port
        try:
            urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            return False
        return True


def _read(file: Path, site: str) -> State | None:
    """The state that an earlier start left; None if there is none of this site."""
    try:
        state = msgspec.json.decode(file.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None
    return state if state.site == site else None


def _keep(file: Path, state: State) -> None:
    draft = file.with_name(f"{file.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.write(msgspec.json.encode(state))
    draft.replace(file)


def _day(at: int) -> date:
    return datetime.fromtimestamp(at / 1000, UTC).date()


def _now() -> int:
    return time.time_ns() // 1_000_000
