"""The command: sees to it that it may mount, runs, judges, and tells the figures."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tests.soak
from tests.e2e.harness import ALWAYS, SITE, Up, footfall, until
from tests.e2e.proof import ALL, assert_rollups_equal_a_group_by, by_script, digests, replay
from tests.e2e.stream import VICTIMS, worker
from tests.patience import patient
from tests.servers import kafka
from tests.soak.machine import DAY_S, Clock, Disk, may_mount
from tests.soak.traffic import KEY, Account, Traffic

SITES = f'limits = false\n\n[[site]]\ndomain = "{SITE}"\nkey = "{KEY}"\n'
BETWEEN = (2.0, 7.0)  # seconds from one trouble to the next
FULL = (2.0, 5.0)  # seconds for which the disk is


def say(text: str) -> None:
    sys.stderr.write(f"soak: {text}\n")
    sys.stderr.flush()


class Soak:
    """One run in a folder that is empty. `disk`, `clock` and `broker` are those that may fail, if there are any."""

    def __init__(
        self, folder: Path, seed: int, disk: Disk | None, clock: Clock | None, broker: kafka.Server | None
    ) -> None:
        self.data = folder / "data"
        self.data.mkdir(mode=0o700, exist_ok=True)
        (self.data / "sites.toml").write_text(SITES)
        self.seed, self.dice = seed, random.Random(f"troubles {seed}")
        self.disk, self.clock, self.broker = disk, clock, broker
        # One way only in a run: two days later the salt of a day is gone, and its visitors would count once more.
        self.day_off = self.dice.choice((-DAY_S, DAY_S))
        self.env: dict[str, str] = {"FOOTFALL_BROKER": f"kafka://{broker.address()}"} if broker else {}
        self.account = Account(seed, clock.now_ms if clock else lambda: time.time_ns() // 1_000_000)
        self.up = self._start()

    def _start(self) -> Up:
        return Up(self.data, env=self.env | (self.clock.env if self.clock else {}))

    def run(self, seconds: float) -> dict[str, Any]:
        """The figures. Raises AssertionError where the account does not balance."""
        try:
            self.up.wait_ready()
            begun = time.monotonic()
            self.traffic = Traffic(self.up, self.account)
            try:
                for trouble in self._troubles(begun + seconds):
                    self._troubled(trouble)
                self._set_clock(0)
                self.traffic.stop()
            finally:
                self.traffic.give_up()
            stopped = time.monotonic()
            told = self._judged()
            assert self.up.stop() == 0
            figures = {"seed": self.seed, "seconds": round(stopped - begun, 1), **self.account.numbers_of_the_page()}
            return figures | told | dict(sorted(self.account.told.items()))
        finally:
            self.up.end()

    # -- what fails -------------------------------------------------------------------------------------------

    def _troubles(self, until_then: float) -> Iterator[str]:
        """What fails now, one after the other, at random times; each once before any comes again."""
        names = sorted(f"kill -9 of {victim}" for victim in VICTIMS)
        names += ["the disk is full"] if self.disk else []
        names += ["the clock is set"] * 2 if self.clock else []
        names += ["kill -9 of the broker"] if self.broker else []
        left: list[str] = []
        while (wait := self.dice.uniform(*BETWEEN)) < until_then - time.monotonic():
            time.sleep(wait)
            self.traffic.check()
            left = left or self.dice.sample(names, len(names))
            yield left.pop()
        time.sleep(max(0.0, until_then - time.monotonic()))

    def _troubled(self, trouble: str) -> None:
        say(trouble)
        self.account.note(trouble)
        if trouble == "the disk is full":
            self._fill_the_disk()
        elif trouble == "the clock is set":
            assert self.clock
            self._set_clock(0 if self.clock.off else self.day_off)
        elif trouble == "kill -9 of the broker":
            self._restart_the_broker()
        else:
            self._kill(trouble.removeprefix("kill -9 of "))

    def _kill(self, victim: str) -> None:
        pid = VICTIMS[victim](self.up)
        os.kill(pid, signal.SIGKILL) if pid > 0 else os.killpg(-pid, signal.SIGKILL)
        if victim in ("supervisor", "all of it"):
            self.up.gone()
            self.up = self._start()
            self.traffic.up = self.up.wait_ready()

    def _fill_the_disk(self) -> None:
        assert self.disk
        before = self.account.told["refused for now"]
        with self.disk.full():
            time.sleep(self.dice.uniform(*FULL))
            if self.dice.random() < 0.5:
                self.account.note("kill -9 of core worker with a full disk")
                os.kill(worker(self.up, "core"), signal.SIGKILL)
                time.sleep(self.dice.uniform(*FULL))
        self.account.note("refused while the disk was full", self.account.told["refused for now"] - before)

    def _set_clock(self, off: int) -> None:
        if self.clock and self.clock.off != off:
            # A batch is taken whole before a step or after it: which day a page view has must be known.
            with self.traffic.at_rest():
                say(f"the clock goes from {self.clock.off:+d} s to {off:+d} s")
                self.clock.set(off)

    def _restart_the_broker(self) -> None:
        assert self.broker
        address = self.broker.address()
        assert address
        self.broker.kill()
        time.sleep(self.dice.uniform(0.0, 3.0))
        kafka.launch(self.broker, int(address.rpartition(":")[2]))

    # -- the judgement ----------------------------------------------------------------------------------------

    def _judged(self) -> dict[str, Any]:
        """Compare what is stored with the account; returns figures of it."""
        up, account, begun = self.up, self.account, time.monotonic()
        expected = account.numbers_of_the_page()
        # Visits of late events, as most are that come when the clock was set back, are made by `reconcile`.
        up.shows({name: number for name, number in expected.items() if name != "visitors"}, seconds=patient(180))
        drained = time.monotonic() - begun
        rows = up.sql("SELECT path, count() AS copies FROM events GROUP BY path")
        stored = {row["path"]: int(row["copies"]) for row in rows}
        lost, strange = account.events.keys() - stored.keys(), stored.keys() - account.events.keys()
        twice = [path for path, copies in stored.items() if copies != 1]
        assert (sorted(lost)[:5], sorted(strange)[:5], twice[:5]) == ([], [], [])
        done = footfall("reconcile", "--data", str(self.data), env=self.env)
        assert done.returncode == 0, done.stderr
        up.shows(expected, seconds=patient(30))
        by_day = account.page_views_by_day()
        assert {day: up.stats(first=day, last=day)["pageviews"] for day in by_day} == by_day
        assert_rollups_equal_a_group_by(up)
        done = footfall("archive", "flush", "--data", str(self.data), env=self.env)
        assert done.returncode == 0, done.stderr
        sources = ("broker", "archive")
        found = {each: replay(self.data, "--dry-run", "--source", each, env=self.env) for each in sources}
        for reports in found.values():
            assert [report["differs"] for report in reports] == [[]] * len(reports)
            assert sum(report["events"] for report in reports) == len(account.events)
        assert digests(found["broker"]) == digests(found["archive"]) == by_script(self.data)
        sessions = sum(report["sessions"] for report in found["broker"])
        assert up.stats(**ALWAYS)["visits"] == sessions
        figures = {"sessions": sessions, "days": len(by_day), "seconds_to_drain": round(drained, 1)}
        return figures | until(self._accounted, "the account of every hour sums", patient(60))

    def _accounted(self) -> dict[str, Any] | None:
        """The sums of the audit once every hour balances; the counts of the door come some seconds later."""
        done = footfall("audit", *ALL, "--json", "--data", str(self.data), env=self.env)
        assert done.returncode in (0, 1), done.stderr
        hours = [json.loads(line) for line in done.stdout.splitlines()]
        stored = sum(hour["stored"] for hour in hours)
        if done.returncode or stored != len(self.account.events):
            self.unbalanced = [hour for hour in hours if not hour["balanced"]]
            return None
        names = ("accepted", "duplicate", "duplicate_at_door", "refused", "dead_lettered", "in_flight")
        return {"hours": len(hours)} | {name: sum(hour[name] for hour in hours) for name in names}


def main() -> int:
    about = (tests.soak.__doc__ or "").partition("\n\n")[0]
    parser = argparse.ArgumentParser(prog="./dev soak", description=about)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long traffic and troubles go on (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="what is sent and fails; printed, random if not given")
    parser.add_argument("--broker", choices=["kafka"], default=None, help="on a real Kafka, which fails too")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON line")
    parser.add_argument("--may-mount", action="store_true", help=argparse.SUPPRESS)  # in a mount namespace of its own
    given = parser.parse_args()
    if not given.may_mount and may_mount():
        line = ["unshare", "-rm", sys.executable, "-m", "tests.soak", *sys.argv[1:], "--may-mount"]
        os.execvp(line[0], line)
    seed = random.randrange(10**6) if given.seed is None else given.seed
    say(f"{given.minutes:g} min, seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="footfall-soak-"))
    left_out: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            made = parts(folder, given.may_mount, given.broker, left_out, stack.callback)
            for name, why in left_out.items():
                say(f"{name} does not fail here: {why}")
            figures = Soak(folder, seed, **made).run(given.minutes * 60)
    except AssertionError as error:
        kept = folder / "kept"
        shutil.copytree(folder / "data", kept, symlinks=True)  # which may lie on a disk that ends with this process
        say(f"not as it should be: {error}\nsoak: the folder is kept: {kept}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)  # what is mounted goes by itself
    figures["left out"] = sorted(left_out)
    told = json.dumps(figures) if given.json else "\n".join(_told(name, value) for name, value in figures.items())
    sys.stdout.write(told + "\n")
    return 0


def parts(
    folder: Path, mounting: bool, broker: str | None, left_out: dict[str, str], at_end: Callable[[Any], Any]
) -> Mapping[str, Any]:
    """What may fail here; what cannot is told in `left_out`, with the reason."""
    made: dict[str, Any] = {"disk": None, "clock": None, "broker": None}
    if mounting:
        made["disk"] = Disk(folder / "data")
    else:
        left_out["the disk"] = "this system lets nobody mount (unshare -rm)"
    try:
        made["clock"] = Clock(folder)
    except RuntimeError as missing:
        left_out["the clock"] = str(missing)
    if broker:
        (folder / "kafka").mkdir()
        kafka.start(folder / "kafka", port=0)
        made["broker"] = kafka.server(folder / "kafka")
        at_end(made["broker"].stop)
    return made


def _told(name: str, value: Any) -> str:
    return f"{name}: {value:,}" if isinstance(value, int | float) else f"{name}: {', '.join(value) or 'nothing'}"


if __name__ == "__main__":
    sys.exit(main())
