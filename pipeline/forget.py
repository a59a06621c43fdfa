"""Forgetting visitors for good: out of the warehouse, the state, the archive and the log, and never back again.

The days that a site does not keep any longer go the same way (`pipeline.expire`): what differs is by what it is found.

First the tombstones count (`erasure`), so from then on nothing that reads raw events takes in what is forgotten. Then
the rows go, while every unit is leased and nothing is loaded; then the files and records, beside the live run. All of
a visitor that is stored goes: the tombstones reach to the moment at which it was decided, or to the last stored event.

A journal beside the checkpoints says what is to be done, and a checkpoint says of which erasure its rows are out. Every
step may be done again. What a kill broke off is finished by the next start, before anything is recovered or loaded.

The digests of the days concerned change, and rightly: the receipt has those of before and after.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import partial

import msgspec
import polars as pl

from activity import rollup
from activity.definitions import DAY_MS
from brokers.base import BrokerError
from pipeline import archive as archiving
from pipeline import boundary, erasing, erasure, losses, rearchive, rebuild
from pipeline import days as building
from pipeline.checkpoint import Checkpoint, CheckpointRepository
from pipeline.erasing import VISITORS, Journal, Person, Receipt, needles_of, receipt_of, visitors_of
from pipeline.lease import HeldLease
from pipeline.live import Loader
from pipeline.raw_records import erase_records, expire_records
from stores.base import Archive, CheckpointStore, StoreError
from stores.erasure import Eraser

log = logging.getLogger("footfall.pipeline")

_LEASE = "forget"
_LOOK_AGAIN = 0.2  # seconds
_PATIENCE = 60.0  # seconds, for a day that is being built


class Unable(RuntimeError):
    """This deployment cannot erase; nothing was changed. The message says why."""


def look(loader: Loader, archive: Archive, person: Person) -> Receipt:
    """What `forget` would remove now; changes nothing. Raises `Unable`."""
    refuse(loader)
    found = _found(loader, person, epoch=0)
    files = sum(1 for _ in archiving.holding(archive, archive.manifest().entries, found.erasures, []))
    files += len(archiving.orphans(archive, found.erasures, []))
    return receipt_of(found, archive_files=files) | {"dry_run": True}


def forget(loader: Loader, archive: Archive, person: Person, progress: Callable[[str], None]) -> Receipt:
    """Forget a person; returns the receipt. `progress` is told what is being done. The loader is of all units.

    Raises `Unable`, and `rebuild.Busy` when another process has a unit, or forgets somebody, for too long."""
    return erase(loader, archive, lambda epoch: _found(loader, person, epoch), progress)


def erase(
    loader: Loader, archive: Archive, found: Callable[[int], Journal], progress: Callable[[str], None]
) -> Receipt:
    """Do what a journal says, which `found` makes for an epoch while nothing is loaded. Raises as `forget`."""
    refuse(loader)
    with HeldLease(loader.checkpoint_store, _LEASE) as lease:
        if not lease.take():
            raise rebuild.Busy(f"{lease.other} erases something; try again when it is done")
        _finish(loader, archive, progress)
        progress("the warehouse")
        _end_batch(loader)
        with _nothing_built(loader), loader.turn, rebuild.leased(loader) as checkpoint:
            journal = found(erasure.load(loader.checkpoint_store).epoch + 1)
            erasing.write(loader.checkpoint_store, journal)
            _erase_rows(loader, checkpoint, journal)
        return _erase_elsewhere(loader, archive, journal, progress)


def take_over(store: CheckpointStore) -> None:
    """End the leases of a process that died; for the sole process of an embedded warehouse, as `Loader.take_over`."""
    for name in (_LEASE, building.LEASE):
        store.delete(f"lease-{name}")


def resume(loader: Loader, archive: Archive, patience: float = 0.0) -> None:
    """Finish what was broken off, if anything was, but at least take the rows out: before that nothing may be loaded.

    The loader is of all units. While another process takes the rows out, this waits for so many seconds. Raises
    `rebuild.Busy`."""
    deadline = time.monotonic() + patience
    while (journal := erasing.read(loader.checkpoint_store)[0]) is not None:
        with HeldLease(loader.checkpoint_store, _LEASE) as lease:
            if lease.take():
                _resume(loader, archive, journal)
                return
            if not _has_rows(loader, journal):
                return  # the rest is done by the other one, and nobody has to wait for it
            if time.monotonic() >= deadline:
                raise rebuild.Busy(f"{lease.other} erases something; this loader waits for it")
        time.sleep(_LOOK_AGAIN)


def _resume(loader: Loader, archive: Archive, journal: Journal) -> None:
    try:
        _finish(loader, archive, lambda _what: None)
    except (BrokerError, StoreError) as error:
        if _has_rows(loader, journal):
            raise
        log.warning("Erasure %d is not done in archive and log: %s; the next start goes on", journal.epoch, error)


def _has_rows(loader: Loader, journal: Journal) -> bool:
    """Whether the rows of an erasure are not out yet, or not of every unit."""
    return any(_epoch_of(repository) < journal.epoch for repository in loader.repository.each())


def _finish(loader: Loader, archive: Archive, progress: Callable[[str], None]) -> None:
    journal, _ = erasing.read(loader.checkpoint_store)
    if journal is None:
        return
    log.warning("Erasure %d was broken off; it is finished now", journal.epoch)
    if _has_rows(loader, journal):
        _end_batch(loader)
        with _nothing_built(loader), loader.turn, rebuild.leased(loader) as checkpoint:
            _erase_rows(loader, checkpoint, journal)
    receipt = _erase_elsewhere(loader, archive, journal, progress)
    told = {name: receipt[name] for name in ("removed", "days", "remains")}
    log.warning("Erasure %d is done: %s", journal.epoch, msgspec.json.encode(told).decode())


def _end_batch(loader: Loader) -> None:
    """Run the batch of a loader that died in it, which would be in the way of a lease."""
    with loader.turn:
        if loader.unit.of == 1 and loader.open().intent is not None:
            loader.step()


@contextmanager
def _nothing_built(loader: Loader) -> Iterator[None]:
    """No process builds days from rows that are about to go. Raises `rebuild.Busy`."""
    with building.leased(loader.checkpoint_store) as lease:
        deadline = time.monotonic() + _PATIENCE
        while not lease.take():
            if time.monotonic() > deadline:
                raise rebuild.Busy(f"{lease.other} builds a day; try again when it is done")
            time.sleep(_LOOK_AGAIN)
        yield


def _epoch_of(repository: CheckpointRepository) -> int:
    found = repository.load()
    return found.erased if found is not None else 0


def refuse(loader: Loader) -> None:
    """Raises `Unable` where nothing can be erased, or not now."""
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
    visitors = visitors_of(site, [person.visitor] if person.visitor else [])
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
    letters = eraser.letters(site, needles_of(person, names))
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


def _erase_rows(loader: Loader, leased: Checkpoint, journal: Journal) -> None:
    """Let the tombstones count, and take the rows out of warehouse and state. All units are leased."""
    erasure.add(loader.checkpoint_store, journal.erasures)
    eraser, days, expiry = Eraser(loader.warehouse), _dates(journal.days), journal.expiry
    if expiry:
        eraser.record_expiry(expiry, journal.begun)
        boundary.form_again(loader, leased, expiry)
        touched = eraser.touched_by_expiry(expiry)
    else:
        eraser.record(journal.erasures.tombstones, journal.begun)
        touched = eraser.touched(journal.erased, days, journal.letters)
    repositories = loader.repository.each()
    for repository in repositories:
        # Parts that are rewritten with nothing left in them are not lost.
        checkpoint = _loaded(repository)
        kept = [part for part in checkpoint.parts if (part.table, part.partition) not in touched]
        repository.swap(msgspec.structs.replace(checkpoint, parts=kept))
    if expiry:
        eraser.expire(expiry, days)
    else:
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
    left = _left(state, journal)
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
    """The segments without what is erased, and those that they replace."""
    kept, old = [], []
    for number, path in enumerate(paths):
        frame = repository.get_frame(path)
        left = _left(frame, journal)
        if left.height == frame.height:
            kept.append(path)
            continue
        old.append(path)
        if left.height:
            kept.append(repository.put_frame(f"kept-{journal.epoch}-{number}", left))
    return kept, old


def _left(frame: pl.DataFrame, journal: Journal) -> pl.DataFrame:
    """What is left of events, or of days of visitors, without what is erased."""
    if journal.expiry is None:
        return frame.join(journal.erased.visitors, on=list(VISITORS), how="anti", maintain_order="left")
    at = pl.col("day") * DAY_MS if "day" in frame.columns else pl.col("occurred_at")
    return frame.filter((pl.col("site") != journal.person.site) | (at >= journal.occurred_before))


def _erase_elsewhere(
    loader: Loader, archive: Archive, journal: Journal, progress: Callable[[str], None]
) -> Receipt:
    """Take what is forgotten out of the archive and the log; ends the journal and returns the receipt."""
    eraser, site, store = Eraser(loader.warehouse), journal.person.site, loader.checkpoint_store
    expiry, every = journal.expiry, partial(erasure.load, store)
    progress("the archive")
    # Those of before, too: somebody may have put a file back from a copy.
    ever = journal.erasures if expiry else every().of_site(site)
    unreadable: list[str] = []

    def replacing(paths: list[str]) -> None:
        nonlocal journal
        journal = msgspec.structs.replace(journal, files=sorted({*journal.files, *paths}))
        erasing.write(loader.checkpoint_store, journal)

    before = expiry.occurred_before if expiry else None
    archiving.erase(archive, ever, journal.files, replacing, unreadable, before)
    if unreadable:  # while the log still has all that was in them
        unreadable = rearchive.make_again(archive, loader.broker, loader.runner, every, unreadable)
    progress("the log")

    def count(hours: Mapping[int, int], block: str) -> None:
        eraser.count_gone("expired" if expiry else "erased", site, hours, f"{journal.epoch}/{block}")

    if expiry and not (journal.days or journal.old_letters or journal.files):
        records, remains = 0, list[Receipt]()
    elif expiry:
        records, remains = expire_records(loader.broker, expiry, journal.begun, count)
    else:
        needles = [*journal.needles, *journal.letter_ids]
        records, remains = erase_records(
            loader.broker, site, journal.erasures, journal.person.user, needles, journal.begun, count
        )
    progress("replaced files")
    if not eraser.clean():
        remains.append({"where": "the warehouse", "why": "replaced parts are in use; the engine removes them later"})
    remains += [{"where": part, "why": "rows that were set aside as broken"} for part in eraser.set_aside()]
    remains += [{"where": path, "why": "the file is damaged and cannot be looked into"} for path in unreadable]
    remains += [{"where": name, "why": "it was set aside as damaged"} for name in store.names("damaged/")]
    receipt = receipt_of(journal, archive_files=len(journal.files), log_records=records) | {"remains": remains}
    store.delete(erasure.JOURNAL)
    restated = _restated(loader, journal)
    return receipt | {"days": restated}


def _restated(loader: Loader, journal: Journal) -> list[Receipt]:
    eraser, why = Eraser(loader.warehouse), f"{'expiry' if journal.expiry else 'erasure'} {journal.epoch}"
    restated = [
        {"day": day, "before": before, "why": why,
         "after": rollup.session_digest(eraser.sessions(journal.person.site, date.fromisoformat(day)))}
        for day, before in journal.digests.items()
    ]  # fmt: skip
    # Of days that are kept few have a visit over the boundary.
    return [each for each in restated if not journal.expiry or each["before"] != each["after"]]


def _loaded(repository: CheckpointRepository) -> Checkpoint:
    found = repository.load()
    assert found is not None  # it is leased
    return found


def _dates(days: list[str]) -> list[date]:
    return [date.fromisoformat(day) for day in days]
