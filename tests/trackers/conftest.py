"""The tracking service with one site that every tracker knows by an id of its own, and the vendors' own clients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import brokers
from tests import npm
from tests.ingest.conftest import Log, Running, prepare
from tests.patience import patient
from tests.trackers import browsing
from tests.trackers.proxy import Proxy

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
    return npm.installed(CLIENTS)


@pytest.fixture(scope="module")
def site(node_modules: Path) -> Iterator[str]:
    """The address of the pages in `clients/`."""
    with browsing.serving(CLIENTS) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a module."""
    with browsing.chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a profile of its own."""
    with browsing.profile(browser) as opened:
        yield opened


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Callable[..., str]:
    """`run("posthog.py", url, key)`: runs a client's script in `clients/` to its end, and returns what it printed."""

    def begin(script: str, *arguments: str) -> str:
        if script.endswith(".mjs"):
            request.getfixturevalue("node_modules")
        return run_client(script, *arguments)

    return begin


def run_client(script: str, *arguments: str) -> str:
    """Run a client's script to its end, and return what it printed."""
    # A script is named as the package that it imports.
    line = [*npm.NODE, script] if script.endswith(".mjs") else [sys.executable, "-P", script]
    done = subprocess.run(
        [*line, *arguments], cwd=CLIENTS, env=npm.environment(), capture_output=True, text=True, timeout=patient(60)
    )
    assert done.returncode == 0, f"{script} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout
