"""The tombstones of a deployment (`activity.erasure`), kept beside the checkpoints.

They change by compare-and-swap, and only while every unit is leased: so no batch is planned under other tombstones
than it is run under, and a loader that knows older ones finds its checkpoint changed and loads both again. The table
`erasures` of the warehouse has the same tombstones for readers. Where the value is gone but the table is there, it is
made again from it: a lost checkpoint is replaced by a replay of the raw events, which must leave out what is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from activity.erasure import Erasures, Tombstone
from stores.base import CheckpointStore, Unreadable

NAME = "erasures"


def load(store: CheckpointStore) -> Erasures:
    """The tombstones that count now. Raises `Unreadable` when the value is damaged."""
    return _versioned(store)[0]


def load_or_restore(store: CheckpointStore, table: Callable[[], list[Tombstone]]) -> Erasures:
    """The tombstones that count now; made again from those in the table when the value is gone or damaged."""
    try:
        found, version = _versioned(store)
    except Unreadable:
        found = Erasures(tuple(table()))
        # As one step: while there were none, what is forgotten would be read again.
        store.mend(NAME, msgspec.json.encode(found), _version(store))
        return found
    if version is None and (stored := table()):
        found = Erasures(tuple(stored))
        store.swap(NAME, msgspec.json.encode(found), None)
    return found


def _version(store: CheckpointStore) -> str | None:
    try:
        found = store.load(NAME)
    except Unreadable:
        return None
    return found[1] if found else None


def add(store: CheckpointStore, tombstones: list[Tombstone]) -> None:
    """Let these tombstones count too. Those that are there already change nothing. Raises `Conflict`."""
    found, version = _versioned(store)
    fresh = [each for each in tombstones if each not in found.tombstones]
    if fresh:
        store.swap(NAME, msgspec.json.encode(Erasures((*found.tombstones, *fresh))), version)


def _versioned(store: CheckpointStore) -> tuple[Erasures, str | None]:
    stored = store.load(NAME)
    if stored is None:
        return Erasures(), None
    try:
        return msgspec.json.decode(stored[0], type=Erasures), stored[1]
    except msgspec.MsgspecError as error:
        why = f"it is no list of tombstones ({error})"
        raise Unreadable(NAME, why, "start a loader, which makes it again from the table `erasures`") from error
