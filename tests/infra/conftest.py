"""`footfall up` as a user starts it: a process group of its own, a data folder of its own, two free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
SITE = "example.com"
PATIENCE = 60.0  # of a busy machine


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("FOOTFALL_")} | {
        "PYTHONPATH": str(ROOT)
    }


def footfall(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "infra.cli", *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240, **options)


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE:.0f} s in vain until {what}")


class Up:
    """A running `footfall up`."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.output = data.with_suffix(".log")
        command = [sys.executable, "-m", "infra.cli", "up", "--json", "--data", str(data), *arguments]
        if "--port" not in arguments:
            command += ["--port", "0", "--dashboards-port", "0"]
        with self.output.open("ab") as log:
            self._begin = log.tell()
            self.process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log, start_new_session=True)
        self.ready: dict[str, str] = {}

    def wait_ready(self) -> Up:
        def ready() -> dict[str, str] | None:
            assert self.process.poll() is None, self.said()
            for line in self.said().splitlines():
                if line.startswith('{"event": "ready"'):
                    return dict(json.loads(line))
            return None

        self.ready = until(ready, "up is ready")
        return self

    def said(self) -> str:
        return self.output.read_bytes()[self._begin :].decode()

    def collect(self, **event: Any) -> dict[str, Any]:
        event = {"site": SITE, "type": "pageview", "url": f"https://{SITE}/"} | event
        request = urllib.request.Request(
            f"{self.ready['tracking']}/collect", json.dumps(event).encode(), {"User-Agent": AGENT}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return dict(json.load(response))

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(self.ready["dashboards"] + path, timeout=PATIENCE) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def stats(self, site: str = SITE, first: str | None = None, last: str | None = None) -> dict[str, float]:
        today = datetime.now(UTC).date().isoformat()
        status, body = self.get(f"/api/v1/stats?site={site}&from={first or today}&to={last or today}")
        assert status == 200, body
        return dict(json.loads(body))

    def group(self) -> list[int]:
        """Every process of it that is still there, the dead that nobody waited for left out."""
        found = subprocess.run(["ps", "-eo", "pid,pgid,stat"], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in found.splitlines()[1:]]
        return [int(pid) for pid, group, state in rows if int(group) == self.process.pid and state[0] != "Z"]

    def signal_group(self, number: signal.Signals) -> int:
        os.killpg(self.process.pid, number)
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        if self.group():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start `up` on the test's data folder."""
    started: list[Up] = []

    def begin(*arguments: str) -> Up:
        started.append(Up(tmp_path / "data", *arguments))
        return started[-1]

    yield begin
    for up in started:
        up.end()
