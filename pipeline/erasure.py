"""The tombstones of a deployment (`activity.erasure`), kept beside the checkpoints.

They change by compare-and-swap, and only while every unit is leased: so no batch is planned under other tombstones
than it is run under, and a loader that knows older ones finds its checkpoint changed and loads both again. The tables
`erasures` and, of sites, `expiries` of the warehouse have the same tombstones for readers. Where the value is gone but
the tables are there, it is made again from them: a lost checkpoint is replaced by a replay of the raw events, which
must leave out what is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import msgspec

from activity.erasure import Erasures, Expiry, Tombstone
from stores.base import CheckpointStore, Unreadable

NAME = "erasures"
JOURNAL = "forgetting"  # of an erasure that is under way, see `forget`


class _Kept(msgspec.Struct, frozen=True):
    """The value. A flipped digit of a visitor's id would let him back, so it has a checksum; once, it had none."""

    tombstones: tuple[Tombstone, ...] = ()
    expiries: tuple[Expiry, ...] = ()
    sha256: str = ""


class _Begun(msgspec.Struct, frozen=True):
    epoch: int


def under_way(store: CheckpointStore) -> int:
    """The number of the erasure that is not done yet, 0 without one."""
    found = store.load(JOURNAL)
    return msgspec.json.decode(found[0], type=_Begun).epoch if found else 0


def load(store: CheckpointStore) -> Erasures:
    """The tombstones that count now. Raises `Unreadable` when the value is damaged."""
    return _versioned(store)[0]


def load_or_restore(store: CheckpointStore, table: Callable[[], Erasures]) -> Erasures:
    """The tombstones that count now; made again from those in the table when the value is gone or damaged."""
    try:
        found, version = _versioned(store)
    except Unreadable:
        found = table()
        # As one step: while there were none, what is forgotten would be read again.
        store.mend(NAME, _written(found), _version(store))
        return found
    if version is None and (stored := table()):
        found = stored
        store.swap(NAME, _written(found), None)
    return found


def _version(store: CheckpointStore) -> str | None:
    try:
        found = store.load(NAME)
    except Unreadable:
        return None
    return found[1] if found else None


def add(store: CheckpointStore, tombstones: Erasures) -> None:
    """Let these tombstones count too. Those that are there already change nothing. Raises `Conflict`."""
    found, version = _versioned(store)
    joined = found.joined(tombstones)
    if joined != found:
        store.swap(NAME, _written(joined), version)


def _versioned(store: CheckpointStore) -> tuple[Erasures, str | None]:
    stored = store.load(NAME)
    if stored is None:
        return Erasures(), None
    try:
        kept = msgspec.json.decode(stored[0], type=_Kept)
    except msgspec.MsgspecError as error:
        raise _unreadable(f"it is no list of tombstones ({error})") from error
    found = Erasures(kept.tombstones, kept.expiries)
    if kept.sha256 and kept.sha256 != _digest(found):
        raise _unreadable("its checksum is another")
    return found, stored[1]


def _written(erasures: Erasures) -> bytes:
    return msgspec.json.encode(_Kept(erasures.tombstones, erasures.expiries, _digest(erasures)))


def _digest(erasures: Erasures) -> str:
    return sha256(msgspec.json.encode(erasures)).hexdigest()


def _unreadable(why: str) -> Unreadable:
    return Unreadable(NAME, why, "start a loader, which makes it again from the table `erasures`")
