"""Shared by all benches: the form of a result, timing, and `footfall up` on a folder of its own.

A result is one JSON object: the name of the measurement, our figure and the peer's in `unit`, their ratio, and whether
the target is met. `report` prints one per line and turns them into the exit status.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOOTFALL = [sys.executable, "-m", "infra.cli"]

Result = dict[str, Any]


class Cost(NamedTuple):
    """Seconds of wall time and of CPU, as the program's own (`user`) and the kernel's for it (`system`)."""

    wall: float
    user: float
    system: float
    peak: float = 0.0  # GB resident at most, of the largest process; 0 where it was not measured

    @property
    def cpu(self) -> float:
        """Seconds of CPU."""
        return self.user + self.system


def timed(work: Callable[[], object]) -> Cost:
    """Return the cost of `work` in this process, with all of its threads."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    return Cost(wall, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)


def timed_command(command: Sequence[str]) -> Cost:
    """Return the cost of one process, and its peak memory. Raises SystemExit when it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(wall, used.ru_utime, used.ru_stime, used.ru_maxrss * 1024 / 1e9)


def result(
    name: str,
    ours: float,
    peer: float,
    unit: str,
    target: float,
    *,
    met: bool,
    ratio: float | None = None,
    **more: object,
) -> Result:
    """Return one result. `ratio` defaults to ours / peer; figures are rounded to four significant digits."""
    return {
        "name": name,
        "ours": _rounded(ours),
        "peer": _rounded(peer),
        "unit": unit,
        "ratio": _rounded(ours / peer if ratio is None else ratio),
        "target": _rounded(target),
        "met": bool(met),
        "load": round(os.getloadavg()[0], 1),
        **more,
    }


def report(results: Iterable[Result]) -> int:
    """Print each result as one line of JSON as soon as it arrives; return 1 if a target was missed, else 0."""
    met = True
    for each in results:
        print(json.dumps(each), flush=True)
        met = met and bool(each["met"])
    return 0 if met else 1


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


class Up(NamedTuple):
    """A running `footfall up`: its data folder and its two ports."""

    data: Path
    tracking: int
    dashboards: int

    def stats(self, site: str, day_from: str, day_to: str) -> dict[str, Any]:
        """Return the answer of `/api/v1/stats` for a site and a range of days (ISO dates)."""
        query = f"site={site}&from={day_from}&to={day_to}"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.dashboards}/api/v1/stats?{query}") as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@contextlib.contextmanager
def up(data: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Up]:
    """Run `footfall up` on free ports until the block ends. `env` is added to the environment.

    Raises SystemExit if it is not ready within a minute."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    command = [*FOOTFALL, "up", "--data", str(data), "--port", str(ports[0]), "--dashboards-port", str(ports[1])]
    process = subprocess.Popen(
        [*command, *arguments], start_new_session=True, stdout=subprocess.DEVNULL, env=os.environ | dict(env or {})
    )
    try:
        deadline = time.monotonic() + 60
        while not all(_ready(port) for port in ports):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("footfall up did not become ready")
            time.sleep(0.1)
        yield Up(data, *ports)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share (0 to 1) of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
