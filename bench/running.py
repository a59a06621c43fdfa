"""`footfall up` as a bench uses it: started on a folder of its own, asked over HTTP, stopped by a signal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOOTFALL = [sys.executable, "-m", "infra.cli"]


class Up(NamedTuple):
    data: Path
    tracking: int
    dashboards: int

    def stats(self, site: str, day_from: str, day_to: str) -> dict[str, Any]:
        query = f"site={site}&from={day_from}&to={day_to}"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.dashboards}/api/v1/stats?{query}") as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@contextlib.contextmanager
def up(data: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Up]:
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
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
