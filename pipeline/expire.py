"""The retention of sites: what a site does not keep any longer goes, as `pipeline.forget` has a visitor go.

A site keeps so many whole days, by UTC, beside the one that runs (`kept_since`), by when an event occurred. What
occurred before goes from warehouse, checkpoint, archive and log; a tombstone a site, which only moves on, keeps it out.
A visit over the boundary becomes what is left of it (`pipeline.boundary`).

By itself this happens once a day, to sites whose retention has stood in the sites file for a day: a value beside the
checkpoints says since when it was seen. So whoever mistypes a number, or sets one without thinking of the years that
are there, reads in the log what is about to go, and has a day to change it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from activity import rollup
from activity.definitions import DAY_MS, kept_since
from activity.erasure import Expiry
from pipeline import archive as archiving
from pipeline import erasure, forget, losses
from pipeline.erasing import Journal, Person, Receipt, receipt_of
from pipeline.live import Loader
from stores.base import Archive, CheckpointStore
from stores.erasure import Eraser

NAME = "retention"


class Seen(msgspec.Struct, frozen=True):
    """The retention of a site as the sites file has it, and since when (ms) it is no longer than that."""

    days: int
    since: int


def look(loader: Loader, archive: Archive, site: str, days: int) -> Receipt:
    """What `expire` would remove now; changes nothing. Raises `Unable`."""
    forget.refuse(loader)
    found = _found(loader, site, kept_since(loader.clock(), days), 0)
    entries = archive.manifest(None, found.occurred_before).entries
    files = sum(1 for _ in archiving.holding(archive, entries, found.erasures, []))
    return receipt_of(found, archive_files=files) | {"dry_run": True}


def expire(loader: Loader, archive: Archive, site: str, days: int, progress: Callable[[str], None]) -> Receipt:
    """Remove what a site does not keep any longer that keeps so many days; returns the receipt.

    `progress` is told what is being done. The loader is of all units. Raises as `forget.forget`."""
    before = kept_since(loader.clock(), days)
    return forget.erase(loader, archive, lambda epoch: _found(loader, site, before, epoch), progress)


def due(store: CheckpointStore, retention: Mapping[str, int], now: int) -> tuple[dict[str, int], list[str]]:
    """The sites with their days of which something expires now by itself, and those whose retention is new or shorter.

    `retention` has the days of the sites that the sites file sets them for. The latter are to be told of, and then
    noted. Raises what the store raises."""
    seen, version = _seen(store)
    fresh = [site for site, days in retention.items() if site not in seen or days < seen[site].days]
    # A longer one has been seen since then, too; a site that has none any more is new when it has one again.
    left = {site: Seen(retention[site], each.since) for site, each in seen.items()
            if site in retention and site not in fresh}  # fmt: skip
    if left != seen:
        store.swap(NAME, msgspec.json.encode(left), version)
    erasures = erasure.load(store)
    waited = {site: each.days for site, each in left.items() if each.since + DAY_MS <= now}
    over = {site: days for site, days in waited.items() if erasures.expired_before(site) < kept_since(now, days)}
    return over, fresh


def note(store: CheckpointStore, site: str, days: int, now: int) -> None:
    """Note that somebody was told that a site keeps so many days: in a day, this counts."""
    seen, version = _seen(store)
    store.swap(NAME, msgspec.json.encode(seen | {site: Seen(days, now)}), version)


def _seen(store: CheckpointStore) -> tuple[dict[str, Seen], str | None]:
    stored = store.load(NAME)
    try:
        return (msgspec.json.decode(stored[0], type=dict[str, Seen]), stored[1]) if stored else ({}, None)
    except msgspec.MsgspecError:  # it is damaged, so all sites are seen for the first time and wait
        return {}, stored[1] if stored else None


def _found(loader: Loader, site: str, before: int, epoch: int) -> Journal:
    """What a site has that occurred before a moment (ms).

    Where a former retention was shorter, nothing of what it kept goes, and its tombstone stays."""
    before = max(before, erasure.load(loader.checkpoint_store).expired_before(site), DAY_MS)
    expiry, eraser = Expiry(epoch, site, before), Eraser(loader.warehouse)
    days = eraser.expired_days(expiry)
    events, sessions, letters = eraser.expired(expiry)
    digests = {}
    if eraser.crossing(expiry).height:
        first = before // DAY_MS
        changing = [losses.day(first), losses.day(first + 1)]
        digests = {str(day): rollup.session_digest(eraser.sessions(site, day)) for day in changing}
    return Journal(
        person=Person(site),
        visitors=[],
        epoch=epoch,
        received_before=0,
        begun=loader.clock(),
        days=[str(day) for day in days],
        events=events,
        sessions=sessions,
        letters=[],
        letter_ids=[],
        digests=digests,
        occurred_before=before,
        old_letters=letters,
    )
