"""The checks of what is stored: the warehouse, by its inventory, and the files of the archive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from infra.doctor.finding import Told, counted, ok, warning, wrong
from pipeline import losses
from pipeline.checkpoint import Checkpoint
from stores.base import Amount, Archive, ArchivedFile, Unreadable
from stores.inventory import Inventory

NEWEST = 20  # files of the archive that are read without --all
_REASONS = 5
_SHOWN = 20  # damaged files that are named one by one


def schema(found: Inventory, *, runs: bool) -> list[Told]:
    """Whether the tables are those of this version."""
    told = []
    if found.foreign:
        said = f"the warehouse has migrations of another version: {', '.join(found.foreign)}"
        told.append(wrong(said, "start the version of Footfall that last ran here, or a later one"))
    if found.missing:
        said = f"migrations are missing: {', '.join(found.missing)}"
        if runs:
            told.append(wrong(f"{said}; the running server is of another version", "start `footfall up` again"))
        else:
            told.append(warning(said, "footfall migrate; a start of `footfall up` does it too"))
    if found.absent:
        said = f"tables or views are gone: {', '.join(found.absent)}"
        told.append(wrong(said, "footfall migrate makes them; then replay the days that they had"))
    return told or [ok("the tables are those of this version")]


def rows(found: Inventory, committed: list[Checkpoint] | None) -> list[Told]:
    """Whether the warehouse has every part that a commit recorded, and reads what it has.

    `committed` has the checkpoints; None if they cannot be read, which is told elsewhere."""
    told = []
    if found.parts and committed == []:
        told.append(wrong(losses.LOST, "start `footfall up` again, and let it run until it is done"))
    if found.broken:
        said = f"stored rows cannot be read: {found.broken}"
        told.append(wrong(said, "let `footfall up` run: it sets them aside and makes their days again"))
    if found.damaged:
        said = f"{len(found.damaged)} parts are damaged: {'; '.join(found.damaged[:_REASONS])}"
        told.append(wrong(said, "footfall replay sets them aside and makes their days again"))
    if found.parts is not None:
        there = [losses.Part(*row) for row in found.parts]
        gone = losses.lost([part for checkpoint in committed or () for part in checkpoint.parts], there)
        if gone:
            said = f"the warehouse has lost {losses.in_words(gone)}"
            told.append(wrong(said, "start `footfall up` again: it makes their days from the log or the archive"))
    if found.ahead:
        latest = datetime.fromtimestamp(found.latest / 1000, UTC).isoformat(timespec="seconds")
        said = f"{counted(found.ahead, 'event')} from the future, the last of {latest}"
        told.append(
            warning(said, "set the clocks of all machines that take events by NTP; pages show them when that day comes")
        )
    count = sum(row[4] for row in found.parts or () if row[0] == "event_rows")
    return told or [ok(f"nothing is lost; {counted(count, 'row')} of events")]


def dead_letters(found: Inventory) -> list[Told]:
    """Whether more could not be understood in the last 24 hours than in those before."""
    total, before = sum(each.last for each in found.letters), sum(each.before for each in found.letters)
    if not total:
        return [ok("none in the last 24 hours")]
    reasons = ", ".join(f"{each.last:,} {each.reason} ({each.before:,})" for each in found.letters[:_REASONS])
    said = f"{total:,} in the last 24 hours, {before:,} in those before; by reason: {reasons}"
    if total <= before:
        return [ok(said)]
    return [warning(said, "`footfall dead-letters list` shows what came, and mends it; then mend the sender")]


def archive(store: Archive) -> list[Told]:
    """Whether the newest files of the archive are there, with the bytes that the manifest says."""
    amount = store.amount()
    newest = store.newest(NEWEST)
    damaged = list(filter(None, (_damage(store, entry) for entry in newest)))
    if damaged:
        # A file that was removed since is none that is missing.
        still = {entry.path for entry in store.newest(10 * NEWEST)}
        damaged = [error for error in damaged if error.path in still]
    told = f"{_counted(amount)}; the newest {counted(len(newest), 'file')} read and whole"
    return _told(damaged) or [ok(told if newest else "nothing is archived yet")]


def whole_archive(store: Archive, progress: Callable[[int, int], None]) -> list[Told]:
    """As `archive`, of all files; tells how many of how many were read."""
    entries, amount = store.manifest().entries, store.amount()
    damaged = []
    for number, entry in enumerate(entries, 1):
        damaged += [error] if (error := _damage(store, entry)) else []
        progress(number, len(entries))
    if damaged:
        still = {entry.path for entry in store.manifest().entries}
        damaged = [error for error in damaged if error.path in still]
    told = _told(damaged)
    return told or [ok(f"{_counted(amount)}; all of it read and whole")]


def _counted(amount: Amount) -> str:
    return f"{counted(amount.files, 'file')} with {counted(amount.events, 'event')}"


def _damage(store: Archive, entry: ArchivedFile) -> Unreadable | None:
    try:
        store.read(entry.path, columns=["position"], entry=entry)
    except Unreadable as error:
        return error
    return None


def _told(damaged: list[Unreadable]) -> list[Told]:
    told = [wrong(f"{error.path}: {error.why}", error.remedy) for error in damaged[:_SHOWN]]
    if len(damaged) > _SHOWN:
        told.append(wrong(f"{len(damaged) - _SHOWN:,} more files are damaged", damaged[0].remedy))
    return told
