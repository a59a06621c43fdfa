"""`footfall ingest` alone, the tracking port and nothing else, for what a broker of one's own is needed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.harness import PATIENCE, command, environment, fetch


class Ingest:
    """A process of `footfall ingest` on a port of its own."""

    def __init__(self, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._log = log
        self._process = process

    def ready(self) -> bool:
        return self._answers("/ready")

    def takes(self) -> bool:
        """Whether somebody listens, be it without a broker."""
        return self._answers("/live")

    def _answers(self, path: str) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return fetch(f"{self.address}{path}")[0] == 200
        except OSError:
            return False

    def collect(self, event: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        status, _, body = fetch(f"{self.address}/collect", json.dumps(event).encode(), headers)
        assert status == 202, body
        return dict(json.loads(body))


@contextmanager
def ingesting(folder: Path, env: Mapping[str, str]) -> Iterator[Ingest]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    log = folder / "output"
    line = [*command(), "ingest", "--data", str(folder), "--port", str(port)]
    with (
        log.open("wb") as output,
        subprocess.Popen(line, env=environment(env), stdout=output, stderr=output) as process,
    ):
        try:
            yield Ingest(port, log, process)
        except BaseException:
            sys.stdout.write(log.read_text())  # pytest shows it with the failure
            raise
        finally:
            process.terminate()
            process.wait(PATIENCE)
