"""Writes the golden files of today's formats: `python -m tests.golden FOLDER`.

Run it when a format has changed, with a new folder beside the old ones: these are read for ever and never written
again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from activity import codec
from activity.event import DEAD_LETTER_TOPIC, Event, EventType
from activity.refusal import DeadLetter
from brokers.base import Record
from ingest.spool import SpoolFile
from tests.pipeline.world import T0, World
from tests.pipeline.world import record as record_of

DAY = 86_400_000
# A value other than the default for every field that has one.
FULL = {
    "sent_at": T0 + 5, "clamped": True, "interactive": False, "user": "u-1", "session_hint": "h-1",
    "url": "https://a.example/shop/été?x=1", "host": "a.example", "path": "/shop/%C3%A9t%C3%A9", "title": "Été ☀",
    "referrer": "https://search.example/", "utm_source": "letter", "utm_medium": "email", "utm_campaign": "autumn",
    "utm_term": "shoes", "utm_content": "top", "source": "letter", "medium": "email", "channel": "Email",
    "term": "red shoes", "results": 0, "name": "order", "props": {"n": 1, "x": 1.5, "b": True, "t": "é", "none": None},
    "revenue": "12.3400", "currency": "EUR", "engaged_ms": 1500, "language": "fr-CA", "screen": "1920x1080",
    "browser": "Firefox", "browser_version": "142", "os": "Linux", "os_version": "6", "device": "desktop",
    "country": "CA", "region": "QC", "city": "Montréal", "protocol": "import", "bot": "", "enriched_by": "by=1",
}  # fmt: skip


def events() -> list[Event]:
    """Each type twice: with every field, and with those alone that have no default."""
    made = []
    for number, kind in enumerate(EventType):
        for of, more in enumerate((FULL, {})):
            at = T0 + number * 60_000 + of * 1_000
            least = {"v": 1, "id": f"{2 * number + of:032x}", "site": "a.example", "type": kind}
            times = {"visitor": f"{of + 7:016x}", "occurred_at": at, "received_at": at + 10}
            made.append(Event(**(least | times | more)))
    return made


def stored() -> list[Event]:
    """Those that are in the log, the archive and the checkpoint, of few types: the archive has a file of each."""
    return [each for each in events() if each.type in (EventType.PAGEVIEW, EventType.CUSTOM)]


LATE = Event(
    v=1, id=f"{99:032x}", site="a.example", type=EventType.PAGEVIEW, visitor=f"{9:016x}", occurred_at=T0 - 3 * DAY,
    received_at=T0 + 9 * 60_000,
)  # fmt: skip
BOT = Event(
    v=1, id=f"{98:032x}", site="a.example", type=EventType.PAGEVIEW, visitor=f"{9:016x}", occurred_at=T0,
    received_at=T0, bot="crawler",
)  # fmt: skip
LETTER = DeadLetter(
    reason="wrong_type", received_at=T0, bytes="eyJ0eXBlIjoibm9uc2Vuc2UifQ==", where="/collect", detail="not known"
)


def write(folder: Path) -> None:
    """Write all files into an empty folder. The log's positions and the names of segments differ from run to run."""
    (folder / "wire").mkdir(parents=True)
    (folder / "wire" / "events.jsonl").write_bytes(b"".join(codec.encode(each) + b"\n" for each in events()))
    (folder / "wire" / "dead-letter.json").write_bytes(msgspec.json.encode(LETTER))
    spool = SpoolFile(folder / "wire" / "1.spool")
    spool.append([record_of(each) for each in events()[:4]])
    spool.close()
    with tempfile.TemporaryDirectory() as aside:
        world = World(folder, f"chdb:///{aside}/warehouse")
        world.publish(*stored(), BOT)
        world.broker.publish([Record(DEAD_LETTER_TOPIC, b"a.example", msgspec.json.encode(LETTER))])
        world.now = T0 + 10 * 60_000
        while world.loader.step():
            pass
        world.publish(LATE)
        while world.loader.step():
            pass
        world.flush()
        world.close()
    import stores

    live = stores.connect_live(str(folder / "live"))
    live.salt("2099-01-01")
    live.import_key("a.example")
    live.close()
    for lock in folder.rglob(".lock"):
        lock.unlink()


if __name__ == "__main__":
    given = Path(sys.argv[1]).resolve()
    if given.exists():
        shutil.rmtree(given)
    write(given)
