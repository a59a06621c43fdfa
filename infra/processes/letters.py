"""What the owner of the warehouse does to dead letters for `footfall dead-letters`: finds, judges, replays, notes."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from infra.processes.control import Line, Verb
from infra.wiring import Parts

if TYPE_CHECKING:
    from ingest.repair import Judged, Mended


def of(parts: Parts, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> dict[str, Verb]:
    """Returns the verbs over opened parts, by name."""

    def find(wanted: Line, limit: int, before: list[Any] | None) -> Iterator[Line]:
        """Yields the letters that a `Filter` finds, the newest first; `before` is the time and id of one met before."""
        from stores.letters import Filter, Letters

        chosen = msgspec.convert(wanted, Filter)
        letters = Letters(parts.warehouse)
        page = letters.find(chosen, limit, (before[0], before[1])) if before else letters.find(chosen, limit)
        for letter in page:
            told = {name: getattr(letter, name) for name in letter.__struct_fields__}
            told |= {name: base64.b64encode(told[name]).decode() for name in ("received", "left")}
            yield told | {"current": base64.b64encode(letter.current).decode()}

    def note(deed: Any, left: dict[str, str]) -> Iterator[Line]:
        """Notes a deed to letters; `left` has the bytes (base64) that it leaves, by id."""
        from stores.letters import Letters

        Letters(parts.warehouse).note(deed, [(each, base64.b64decode(text)) for each, text in left.items()], clock_ms())
        yield {"noted": len(left)}

    def replay(sent: dict[str, str], site: str, dry_run: bool) -> Iterator[Line]:
        """Judges letters and publishes what is new of each that is mended; `sent` has its bytes (base64) by id.

        Yields a line a letter: its `outcome`, and of its events those `accepted`, `duplicates` (stored already) and
        `refused`, or the `problem`."""
        from ingest.repair import Repair
        from stores.letters import Filter, Letters

        letters = Letters(parts.warehouse)
        found = letters.find(Filter(ids=tuple(sent), all=True), len(sent))
        repair = Repair(parts.sites, parts.live)
        judged = {
            letter.id: repair.judge(letter, base64.b64decode(sent[letter.id]), site)
            for letter in found
            if letter.deed != "replayed"
        }
        mended = {its_id: each.events for its_id, each in judged.items() if not each.refused and not each.problem}
        fresh = _fresh(parts, mended)
        if mended and not dry_run:
            parts.create_topics()
            parts.broker.publish([r for events in fresh.values() for event in events for r in event.records])
            letters.note("replayed", [(its_id, base64.b64decode(sent[its_id])) for its_id in mended], clock_ms())
        for letter in found:
            line: Line = {"id": letter.id, "received_at": letter.received_at, "site": letter.site}
            line |= {"reason": letter.reason, "accepted": 0, "duplicates": 0, "refused": [], "problem": ""}
            its = judged.get(letter.id)
            if its is None:
                yield line | {"outcome": "replayed before"}
            elif letter.id in mended:
                new = len(fresh[letter.id])
                counts = {"accepted": new, "duplicates": len(its.events) - new}
                yield line | counts | {"outcome": "would be replayed" if dry_run else "replayed"}
            else:
                yield line | {"outcome": "refused"} | _why(its)

    return {"letters-find": find, "letters-note": note, "letters-replay": replay}


def _why(judged: Judged) -> Line:
    return {"refused": [msgspec.to_builtins(each) for each in judged.refused], "problem": judged.problem}


def _fresh(parts: Parts, mended: dict[str, list[Mended]]) -> dict[str, list[Mended]]:
    """The events of each letter that are not stored yet, each once."""
    import polars as pl

    keys = [
        (event.site, int(event.visitor, 16), int(event.id[:16], 16), int(event.id[16:], 16))
        for events in mended.values()
        for event in events
    ]
    schema = {"site": pl.String, "visitor": pl.UInt64, "id_hi": pl.UInt64, "id_lo": pl.UInt64}
    stored = parts.warehouse.lookup_events(pl.DataFrame(keys, schema=schema, orient="row"), 2**63)
    known = {(hi, lo) for hi, lo in stored.select("id_hi", "id_lo").iter_rows()}
    fresh: dict[str, list[Mended]] = {}
    for its_id, events in mended.items():
        fresh[its_id] = []
        for event in events:
            key = (int(event.id[:16], 16), int(event.id[16:], 16))
            if key not in known:
                known.add(key)
                fresh[its_id].append(event)
    return fresh
