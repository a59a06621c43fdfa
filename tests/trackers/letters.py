"""Dead letters of trackers' requests: found in the log, and judged again."""

from __future__ import annotations

from pathlib import Path

from ingest.repair import Judged, Repair
from ingest.sites import Sites
from stores import connect_live
from stores.letters import Letter
from tests.ingest.conftest import Log, Running
from tests.ingest.test_repair import stored


def letter_of(log: Log) -> Letter:
    """The only dead letter."""
    (record,) = log.records("footfall.dead-letter")
    return stored(record.value or b"")


def judged(server: Running, letter: Letter, mended: bytes) -> Judged:
    """What becomes of a letter's request if it had come like this, by the server's sites and keys."""
    folder = Path(server.broker_url.removeprefix("sqlite://")).parent
    live = connect_live(f"file://{folder}/live")
    try:
        return Repair(Sites(folder / "sites.toml"), live).judge(letter, mended)
    finally:
        live.close()
