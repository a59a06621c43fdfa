"""Dead letters of trackers' requests: found in the log, and judged again."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec

from activity.refusal import DeadLetter
from ingest.repair import Judged, Repair
from ingest.sites import Sites
from stores import connect_live
from stores.letters import Letter
from tests.ingest.conftest import Log, Running


def letter_of(log: Log) -> Letter:
    """The only dead letter."""
    (record,) = log.records("footfall.dead-letter")
    kept = msgspec.json.decode(record.value or b"", type=DeadLetter)
    received = base64.b64decode(kept.bytes)
    return Letter(
        id=kept.id,
        received_at=kept.received_at,
        topic=kept.where,
        reason=kept.reason,
        site=kept.site,
        visitor=kept.visitor,
        detail=kept.detail,
        length=len(received) if kept.length is None else kept.length,
        sender=bytes(kept.sender).decode(),
        received=received,
    )


def judged(server: Running, letter: Letter, mended: bytes) -> Judged:
    """What becomes of a letter's request if it had come like this, by the server's sites and keys."""
    folder = Path(server.broker_url.removeprefix("sqlite://")).parent
    live = connect_live(f"file://{folder}/live")
    try:
        return Repair(Sites(folder / "sites.toml"), live).judge(letter, mended)
    finally:
        live.close()
