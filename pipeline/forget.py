"""Forgetting visitors for good: out of the warehouse, the state, the archive and the log, and never back again.

First the tombstones count (`erasure`), so from then on nothing that reads raw events takes in what is forgotten. Then
the rows go, while every unit is leased and nothing is loaded; then the files and records, beside the live run. All of
a visitor that is stored goes: the tombstones reach to the moment at which it was decided, or to the last stored event.

A journal beside the checkpoints says what is to be done, and a checkpoint says of which erasure its rows are out. Every
step may be done again. What a kill broke off is finished by the next start, before anything is recovered or loaded.

The digests of the days concerned change, and rightly: the receipt has those of before and after.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import polars as pl

from activity import rollup
from activity.erasure import Erasures, Tombstone, hashed_user
from brokers.base import BrokerError
from pipeline import archive as archiving
from pipeline import erasure, losses, rebuild
from pipeline.checkpoint import Checkpoint, CheckpointRepository
from pipeline.lease import HeldLease
from pipeline.live import Loader
from pipeline.raw_records import erase_records
from stores.base import Archive, CheckpointStore, StoreError
from stores.erasure import Erased, Eraser

log = logging.getLogger("footfall.pipeline")

NAME, _LEASE = "forgetting", "forget"
_VISITORS = {"site": pl.String(), "visitor": pl.UInt64()}

Receipt = dict[str, Any]


class Unable(RuntimeError):
    """This deployment cannot erase; nothing was changed. The message says why."""


class Person(msgspec.Struct, frozen=True):
    """Who is to be forgotten: a visitor of a site (16 hex digits), or a user with all of his visitors."""

    site: str
    visitor: str = ""
    user: str = ""


class Journal(msgspec.Struct, frozen=True):
    """What one erasure has to do, and what it found. Times are ms. It has the user's id until it is done."""

    person: Person
    visitors: list[str]
    epoch: int
    received_before: int
    begun: int
    days: list[str]  # UTC days with rows of theirs
    events: int
    sessions: int
    letters: list[str]  # hashes, see `Eraser.letters`
    letter_ids: list[str]
    digests: dict[str, str]  # of the sessions of the site by day, as they were
    files: list[str] = []  # of the archive, which are replaced by others

    @property
    def tombstones(self) -> list[Tombstone]:
        """The tombstones of this erasure."""
        site, before = self.person.site, self.received_before
        found = [Tombstone(self.epoch, site, before, visitor) for visitor in self.visitors]
        if self.person.user:
            found.append(Tombstone(self.epoch, site, before, user=hashed_user(site, self.person.user)))
        return found

    @property
    def needles(self) -> list[str]:
        """The texts by which a dead letter names one of them."""
        return _needles(self.person, self.visitors)

    @property
    def erased(self) -> Erased:
        """Whom it is about, for the warehouse."""
        return Erased(self.person.site, self.epoch, _frame(self.person.site, self.visitors))


def look(loader: Loader, archive: Archive, person: Person) -> Receipt:
    """What `forget` would remove now; changes nothing. Raises `Unable`."""
    _refuse(loader)
    found = _found(loader, person, epoch=0)
    tombstones = Erasures(tuple(found.tombstones))
    files = sum(1 for _ in archiving.holding(archive, archive.manifest().entries, tombstones, []))
    return _receipt(found, archive_files=files) | {"dry_run": True}


def forget(loader: Loader, archive: Archive, person: Person, progress: Callable[[str], None]) -> Receipt:
    """Forget a person; returns the receipt. `progress` is told what is being done. The loader is of all units.

    Raises `Unable`, and `rebuild.Busy` when another process has a unit, or forgets somebody, for too long."""
    _refuse(loader)
    with HeldLease(loader.checkpoint_store, _LEASE) as lease:
        if not lease.take():
            raise rebuild.Busy(f"{lease.other} forgets somebody; try again when it is done")
        _finish(loader, archive, progress)
        progress("the warehouse")
        _end_batch(loader)
        with loader.turn, rebuild.leased(loader):
            epoch = erasure.load(loader.checkpoint_store).epoch + 1
            journal = _found(loader, person, epoch)
            _write(loader.checkpoint_store, journal)
            _erase_rows(loader, journal)
        return _erase_elsewhere(loader, archive, journal, progress)


def take_over(store: CheckpointStore) -> None:
    """End the lease of a process that died; for the sole process of an embedded warehouse, as `Loader.take_over`."""
    store.delete(f"lease-{_LEASE}")


def resume(loader: Loader, archive: Archive) -> None:
    """Finish what was broken off, if anything was, but at least take the rows out: before that nothing may be loaded.

    The loader is of all units. Raises `rebuild.Busy`."""
    journal, _ = _read(loader.checkpoint_store)
    if journal is None:
        return
    with HeldLease(loader.checkpoint_store, _LEASE) as lease:
        if not lease.take():
            raise rebuild.Busy(f"{lease.other} forgets somebody; this loader waits for it")
        try:
            _finish(loader, archive, lambda _what: None)
        except (BrokerError, StoreError) as error:
            if any(_epoch_of(repository) < journal.epoch for repository in loader.repository.each()):
                raise
            log.warning("Erasure %d is not done in archive and log: %s; the next start goes on", journal.epoch, error)


def _finish(loader: Loader, archive: Archive, progress: Callable[[str], None]) -> None:
    journal, _ = _read(loader.checkpoint_store)
    if journal is None:
        return
    log.warning("Erasure %d was broken off; it is finished now", journal.epoch)
    if any(_epoch_of(repository) < journal.epoch for repository in loader.repository.each()):
        _end_batch(loader)
        with loader.turn, rebuild.leased(loader):
            _erase_rows(loader, journal)
    receipt = _erase_elsewhere(loader, archive, journal, progress)
    told = {name: receipt[name] for name in ("removed", "days", "remains")}
    log.warning("Erasure %d is done: %s", journal.epoch, msgspec.json.encode(told).decode())


def _end_batch(loader: Loader) -> None:
    """Run the batch of a loader that died in it, which would be in the way of a lease."""
    with loader.turn:
        if loader.unit.of == 1 and loader.open().intent is not None:
            loader.step()


def _epoch_of(repository: CheckpointRepository) -> int:
    found = repository.load()
    return found.erased if found is not None else 0


def _refuse(loader: Loader) -> None:
    if loader.warehouse.parts() is None:
        raise Unable(
            "a cluster of ClickHouse servers rewrites its parts by itself, each at its own time, so it cannot be said"
            " when a visitor is gone; delete the rows there, and put the tombstones in the table `erasures`"
        )
    if loader.open().lost:
        raise Unable(f"{losses.LOST}. Forget when that is done")


def _found(loader: Loader, person: Person, epoch: int) -> Journal:
    """What there is of a person now."""
    eraser, site, now = Eraser(loader.warehouse), person.site, loader.clock()
    visitors = _frame(site, [person.visitor] if person.visitor else [])
    if person.user:
        visitors = eraser.visitors_of(site, person.user)
    names = visitors.sort("visitor").select(rollup.hex16("visitor").alias("name"))["name"].to_list()
    days = eraser.days(site, visitors)
    digests, sessions = {}, 0
    for day in days:
        of_day = eraser.sessions(site, day)
        theirs = of_day.filter(pl.col("visitor").is_in(visitors["visitor"].implode())).height
        if theirs:
            digests[str(day)] = rollup.session_digest(of_day)
            sessions += theirs
    letters = eraser.letters(site, _needles(person, names))
    return Journal(
        person=person,
        visitors=names,
        epoch=epoch,
        received_before=max(now, eraser.latest(site, visitors) + 1),
        begun=now,
        days=[str(day) for day in days],
        events=eraser.events(visitors, days).height,
        sessions=sessions,
        letters=letters,
        letter_ids=eraser.letter_ids(letters),
        digests=digests,
    )


def _erase_rows(loader: Loader, journal: Journal) -> None:
    """Let the tombstones count, and take the rows out of warehouse and state. All units are leased."""
    erasure.add(loader.checkpoint_store, journal.tombstones)
    eraser, days = Eraser(loader.warehouse), _dates(journal.days)
    eraser.record(journal.tombstones, journal.begun)
    touched = eraser.touched(journal.erased, days, journal.letters)
    repositories = loader.repository.each()
    for repository in repositories:
        # Parts that are rewritten with nothing left in them are not lost.
        checkpoint = _loaded(repository)
        kept = [part for part in checkpoint.parts if (part.table, part.partition) not in touched]
        repository.swap(msgspec.structs.replace(checkpoint, parts=kept))
    eraser.uncount(journal.erased, eraser.events(journal.erased.visitors, days))
    eraser.erase(journal.erased, days, journal.letters)
    parts = losses.parts(loader.warehouse.parts())
    for repository in repositories:
        if (checkpoint := _loaded(repository)).erased < journal.epoch:
            first = repository is repositories[0]
            segments = _open_without(loader, repository, checkpoint, journal)
            _commit(repository, checkpoint, segments, journal, parts, journal.events if first else 0)
        repository.sweep(_loaded(repository))  # segments that a crash left; nobody is about to commit one
    loader.open()


def _open_without(
    loader: Loader, repository: CheckpointRepository, checkpoint: Checkpoint, journal: Journal
) -> tuple[list[str], list[str]]:
    """The segments of what is open without the visitors, and those that they replace.

    Segments have events that are open no more; so a loader that has the state in memory writes that instead."""
    state = loader.open_events(checkpoint)
    if state is None:
        return _without(repository, checkpoint.segments(), journal)
    left = state.join(journal.erased.visitors, on=list(_VISITORS), how="anti")
    made = [repository.put_frame(f"kept-{journal.epoch}", left)] if left.height else []
    return made, [path for path in checkpoint.segments() if path not in made]


def _commit(
    repository: CheckpointRepository,
    checkpoint: Checkpoint,
    open_events: tuple[list[str], list[str]],
    journal: Journal,
    parts: list[losses.Part],
    events: int,
) -> None:
    """Commit that the rows are out, so many events less, with a state that has nothing of them."""
    segments, old = open_events
    dirty_days, old_days = _without(repository, checkpoint.dirty_days, journal)
    repository.swap(
        msgspec.structs.replace(
            checkpoint,
            snapshot=None,
            deltas=segments,
            dirty_days=dirty_days,
            parts=parts,
            events=None if checkpoint.events is None else checkpoint.events - events,
            # A replay that has read the raw events before reads them again before it swaps.
            retracted=checkpoint.retracted + max(1, events),
            erased=journal.epoch,
        )
    )
    repository.forget([*old, *old_days])


def _without(repository: CheckpointRepository, paths: list[str], journal: Journal) -> tuple[list[str], list[str]]:
    """The segments without the visitors, and those that they replace."""
    kept, old = [], []
    for number, path in enumerate(paths):
        frame = repository.get_frame(path)
        left = frame.join(journal.erased.visitors, on=list(_VISITORS), how="anti", maintain_order="left")
        if left.height == frame.height:
            kept.append(path)
            continue
        old.append(path)
        if left.height:
            kept.append(repository.put_frame(f"kept-{journal.epoch}-{number}", left))
    return kept, old


def _erase_elsewhere(
    loader: Loader, archive: Archive, journal: Journal, progress: Callable[[str], None]
) -> Receipt:
    """Take what is forgotten out of the archive and the log; ends the journal and returns the receipt."""
    tombstones, unreadable = Erasures(tuple(journal.tombstones)), list[str]()
    progress("the archive")

    def replacing(paths: list[str]) -> None:
        nonlocal journal
        journal = msgspec.structs.replace(journal, files=sorted({*journal.files, *paths}))
        _write(loader.checkpoint_store, journal)

    archiving.erase(archive, tombstones, journal.files, replacing, unreadable)
    progress("the log")
    eraser, site = Eraser(loader.warehouse), journal.person.site

    def count(hours: Mapping[int, int], block: str) -> None:
        eraser.count_erased(site, hours, f"{journal.epoch}/{block}")

    needles = [*journal.needles, *journal.letter_ids]
    records, remains = erase_records(
        loader.broker, site, tombstones, journal.person.user, needles, journal.begun, count
    )
    progress("replaced files")
    if not eraser.clean():
        remains.append({"where": "the warehouse", "why": "replaced parts are in use; the engine removes them later"})
    remains += [{"where": part, "why": "rows that were set aside as broken"} for part in eraser.set_aside()]
    remains += [{"where": path, "why": "the file is damaged and cannot be looked into"} for path in unreadable]
    store = loader.checkpoint_store
    remains += [{"where": name, "why": "it was set aside as damaged"} for name in store.names("damaged/")]
    receipt = _receipt(journal, archive_files=len(journal.files), log_records=records) | {"remains": remains}
    store.delete(NAME)
    restated = _restated(loader, journal)
    return receipt | {"days": restated}


def _restated(loader: Loader, journal: Journal) -> list[Receipt]:
    eraser, why = Eraser(loader.warehouse), f"erasure {journal.epoch}"
    return [
        {"day": day, "before": before, "why": why,
         "after": rollup.session_digest(eraser.sessions(journal.person.site, date.fromisoformat(day)))}
        for day, before in journal.digests.items()
    ]  # fmt: skip


def _receipt(journal: Journal, **removed: int) -> Receipt:
    person = journal.person
    before = datetime.fromtimestamp(journal.received_before / 1000, UTC)
    counts = {"events": journal.events, "sessions": journal.sessions, "dead_letters": len(journal.letters)}
    return {
        "site": person.site,
        "visitors": journal.visitors,
        "user": person.user,
        "epoch": journal.epoch,
        "received_before": before.isoformat(timespec="milliseconds"),
        "removed": counts | removed,
        "days": list(journal.digests),
    }


def _read(store: CheckpointStore) -> tuple[Journal | None, str | None]:
    found = store.load(NAME)
    return (msgspec.json.decode(found[0], type=Journal), found[1]) if found else (None, None)


def _write(store: CheckpointStore, journal: Journal) -> None:
    store.swap(NAME, msgspec.json.encode(journal), _read(store)[1])


def _loaded(repository: CheckpointRepository) -> Checkpoint:
    found = repository.load()
    assert found is not None  # it is leased
    return found


def _frame(site: str, visitors: Iterable[str]) -> pl.DataFrame:
    return pl.DataFrame([(site, int(visitor, 16)) for visitor in visitors], schema=_VISITORS, orient="row")


def _needles(person: Person, visitors: list[str]) -> list[str]:
    if not person.user:
        return visitors
    # As JSON has it, and as a pixel's query, where a longer name is found, too: rather one letter too many.
    queries = (f"user={quote(person.user, safe='')}", f"user={quote_plus(person.user)}")
    return [*visitors, msgspec.json.encode(person.user).decode(), *dict.fromkeys(queries)]


def _dates(days: list[str]) -> list[date]:
    return [date.fromisoformat(day) for day in days]
