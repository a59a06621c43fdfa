"""What a clean stop leaves in the data folder: everything in its place, nothing in the log's write-ahead file."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import SITE, until
from tests.e2e.ingesting import ingesting

pytestmark = pytest.mark.slow

EVENTS = [{"site": SITE, "type": "pageview", "url": f"https://{SITE}/{n}", "title": "t" * 500} for n in range(100)]


def left(data: Path) -> list[str]:
    return sorted(path.name for path in data.rglob("*-wal") if path.stat().st_size)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_folds_the_log_back(start: Start, number: signal.Signals) -> None:
    up = start("--site", SITE).wait_ready()
    up.send(EVENTS)
    up.shows({"pageviews": len(EVENTS)})
    assert left(up.data), "there is nothing to fold back"
    assert up.stop(number) == 0
    assert left(up.data) == []


def test_the_tracking_port_alone_does(tmp_path: Path) -> None:
    sites = tmp_path / "sites.toml"
    sites.write_text(f'[[site]]\ndomain = "{SITE}"\n')
    with ingesting(tmp_path / "data", {"FOOTFALL_SITES": str(sites)}) as ingest:
        until(ingest.ready, "the tracking port is ready")
        for event in EVENTS[:5]:
            ingest.collect(event)
        assert left(tmp_path / "data"), "there is nothing to fold back"
    assert left(tmp_path / "data") == []
