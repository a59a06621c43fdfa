"""An import publishes what is new of its lines, as columns or as records, and counts every line."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

import brokers
from activity import codec
from activity.event import ALL_TOPICS, DEAD_LETTER_TOPIC, TOPICS
from brokers.base import Broker, Columnar
from brokers.conformance import read_all
from brokers.sqlite import broker as sqlite_broker
from ingest.logs.batch import Accepted
from ingest.logs.importer import Importer
from ingest.logs.reader import batches, reader
from tests.ingest.logs.plainly import KEY, RECEIVED_AT, SITE

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"


def line(number: int, target: str = "/a", agent: str = AGENT) -> bytes:
    stamp = f"17/May/2015:10:{number % 60:02d}:03 +0000"
    return f'192.0.2.{number % 9} - - [{stamp}] "GET {target} HTTP/1.1" 200 5 "https://x.example/" "{agent}"\n'.encode()


LINES = [
    *(line(number, f"/page/{number % 4}") for number in range(40)),
    *(line(number, f"/search?q=w{number % 3}") for number in range(12)),
    line(5, agent=BOT), line(1, "/a.css"), b"no line of a log\n", b"\n",
]  # fmt: skip


class Known:
    """What is stored already: the lines at some indexes of each batch."""

    def __init__(self, indexes: Collection[int]) -> None:
        self._indexes = indexes

    def events(self, accepted: Accepted) -> Collection[int]:
        return [index for index in self._indexes if index < len(accepted)]

    def dead_letters(self, lines: list[str]) -> Collection[int]:
        return ()


def imported(broker: Broker, runs: int, known: Collection[int] = ()) -> tuple[Importer, list[tuple[bytes | None, ...]]]:
    """Import the lines as so many files, which are the same one; return also what lies in the log, sorted."""
    for topic in ALL_TOPICS:
        broker.create_topic(topic, 3)
    importer = Importer(broker, Known(known), RECEIVED_AT, SITE.domain)
    for _ in range(runs):
        chunks = [LINES[at : at + 25] for at in range(0, len(LINES), 25)]
        for _ in importer.read("log", "combined", batches(chunks, reader("combined", SITE, KEY, RECEIVED_AT, None))):
            pass
    found = [(r.key, r.value) for topic in TOPICS for number in range(3) for r in read_all(broker, topic, number)]
    assert sum(len(read_all(broker, DEAD_LETTER_TOPIC, number)) for number in range(3)) == runs
    broker.close()
    return importer, sorted(found)


@pytest.mark.parametrize("known", [(), (0, 3, 24)], ids=["all new", "some stored"])
@pytest.mark.parametrize("runs", [1, 2])
def test_columns_and_records_are_the_same_and_every_line_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Collection[int], runs: int
) -> None:
    monkeypatch.setattr(sqlite_broker, "_FEWEST", 4)
    in_columns = brokers.connect(f"sqlite://{tmp_path}/log.db")
    records = brokers.connect(f"memory://{tmp_path.name}")
    assert isinstance(in_columns, Columnar)
    assert not isinstance(records, Columnar)
    first, found = imported(in_columns, runs, known)
    second, wanted = imported(records, runs, known)
    assert found == wanted
    assert first.tally == second.tally
    assert first.published == second.published == len(found)
    tally, new = first.tally, 53 - (7 if known else 0)  # of the three batches, the last has three lines that are taken
    assert (tally.lines, tally.accepted, tally.duplicates) == (56 * runs, new, 53 * runs - new)
    assert (tally.not_understood, tally.reasons) == (runs, {"asset": runs, "empty": runs})
    events = [codec.decode(value or b"") for _, value in found]
    assert tally.searches == sum(event.type == "search" for event in events)
    assert tally.bots == sum(bool(event.bot) for event in events if event.type == "pageview")
    assert len({event.id for event in events}) == len(events) == new + tally.searches
