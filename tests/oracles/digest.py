"""The digest of every day, from the Parquet archive alone: `python digest.py ARCHIVE`, a JSON line a site and day.

Written from what `activity/rollup.py` and `activity/session.py` say in words, in plain Python, one event after
the other, and importing nothing of the product: an archive of today must give the same digests to anybody, years
from now, by those words.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

GAP = 30 * 60_000
DAY = 24 * 3_600_000
MASK = 2**64 - 1

# What tells the canonical one of several copies, after the times: these columns, in this order.
COPIES = (
    "received_at", "occurred_at", "type", "interactive", "engaged_ms", "path", "user", "referrer", "source", "medium",
    "channel", "utm_campaign", "country", "region", "city", "browser", "os", "device", "language",
)  # fmt: skip
OF_THE_ENTRY = (
    "referrer", "source", "medium", "channel", "utm_campaign", "country", "region", "city", "browser", "os", "device",
    "language",
)  # fmt: skip

Row = dict[str, Any]


def rows(archive: Path) -> Iterator[Row]:
    """Every archived row; an event that lies there twice comes twice."""
    for file in sorted(archive.glob("site=*/**/*.parquet")):
        yield from pq.ParquetFile(file).read(columns=["site", "visitor", "id_hi", "id_lo", "bot", *COPIES]).to_pylist()


def once(found: Iterable[Row]) -> list[Row]:
    """One copy of each event: the least."""
    kept: dict[tuple[Any, ...], Row] = {}
    for row in found:
        identity = (row["site"], row["visitor"], row["id_hi"], row["id_lo"])
        other = kept.get(identity)
        if other is None or [row[name] for name in COPIES] < [other[name] for name in COPIES]:
            kept[identity] = row
    return list(kept.values())


def sessions(events: Iterable[Row]) -> Iterator[list[Row]]:
    """The events of persons, a list a session."""
    of_visitor: defaultdict[tuple[str, int], list[Row]] = defaultdict(list)
    for event in events:
        if not event["bot"]:
            of_visitor[event["site"], event["visitor"]].append(event)
    for visits in of_visitor.values():
        visits.sort(key=lambda e: (e["occurred_at"], e["id_hi"], e["id_lo"]))
        chain_begun, last, session = 0, None, list[Row]()
        for event in visits:
            at = event["occurred_at"]
            if last is None or at - last > GAP:
                if session:
                    yield session
                chain_begun, session = at, []
            elif any(_cuts(midnight, chain_begun) for midnight in _midnights(last, at)):
                yield session
                session = []
            session.append(event)
            last = at
        yield session


def _midnights(after: int, upto: int) -> range:
    """Every 00:00 UTC in (after, upto]."""
    return range((after // DAY + 1) * DAY, upto + 1, DAY)


def _cuts(midnight: int, chain_begun: int) -> bool:
    return midnight - chain_begun >= DAY


def line(session: list[Row]) -> str:
    first = session[0]
    views = [event for event in session if event["type"] == "pageview"]
    # The event that tells where the visit came from: the first that is a page view or names an origin, else the first.
    telling = (e for e in session if e["type"] == "pageview" or e["source"] or e["medium"] or e["utm_campaign"])
    entry = next(telling, first)
    engaged = sum(event["engaged_ms"] for event in session)
    interactions = sum(1 for event in session if event["interactive"])
    fields: list[object] = [
        f"{first['visitor']:016x}",
        f"{session_id(first):016x}",
        first["occurred_at"],
        session[-1]["occurred_at"],
        len(session),
        len(views),
        sum(1 for event in session if event["type"] == "search"),
        interactions,
        engaged,
        _text(views[0]["path"] if views else ""),
        _text(views[-1]["path"] if views else ""),
        int(interactions <= 1),
        int(engaged > 10_000 or len(views) >= 2),
        int(len(session) > 10_000),
        _text(next((event["user"] for event in reversed(session) if event["user"]), "")),
        *(_text(entry[name]) for name in OF_THE_ENTRY),
    ]
    return "\t".join(str(field) for field in fields) + "\n"


def session_id(first: Row) -> int:
    site = int.from_bytes(hashlib.blake2b(first["site"].encode(), digest_size=8).digest(), "big")
    return _mix(_mix(_mix(site ^ first["visitor"]) ^ first["id_hi"]) ^ first["id_lo"])


def _mix(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def _text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def digests(archive: Path) -> Iterator[dict[str, object]]:
    """{"site", "day", "sessions", "visitors", "sha256"} of every site and day on which a session starts."""
    days: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for session in sessions(once(rows(archive))):
        started = datetime.fromtimestamp(session[0]["occurred_at"] / 1000, UTC)
        days[session[0]["site"], f"{started:%Y-%m-%d}"].append(line(session))
    for (site, day), lines in sorted(days.items()):
        yield {
            "site": site,
            "day": day,
            "sessions": len(lines),
            "visitors": len({text.split("\t")[0] for text in lines}),
            "sha256": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest(),
        }


if __name__ == "__main__":
    for report in digests(Path(sys.argv[1])):
        sys.stdout.write(json.dumps(report) + "\n")
