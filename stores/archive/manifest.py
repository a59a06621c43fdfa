"""Which files an archive consists of, and up to which positions of the log: changed as one, by compare-and-swap.

A year of flushes is millions of files, so the manifest is a small head, swapped, that names one immutable part
a day of receipt. A commit writes new parts for the days it touches, swaps the head, and only then deletes the
parts that it replaced: a reader that is overtaken in between finds a part gone, and reads the head again.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from stores.base import ArchivedFile, Checkpoint, Committed, Lost, Manifest, Positions, Unreadable

_HEAD = "head.json"
_TRIES = 5


class _Day(msgspec.Struct, frozen=True):
    part: str
    files: int
    rows: int
    min_occurred_at: int
    max_occurred_at: int


class _Head(msgspec.Struct, frozen=True):
    version: int = 1
    positions: Positions = {}
    days: dict[str, _Day] = {}


class Ledger:
    def __init__(self, store: Checkpoint) -> None:
        self._store = store

    def committed(self) -> Committed:
        head, version = self._load()
        return Committed(head.positions, version)

    def manifest(self, start_ms: int | None, end_ms: int | None) -> Manifest:
        for attempt in range(_TRIES):
            head, version = self._load()
            try:
                entries = [entry for day in head.days.values() if _touches(day, start_ms, end_ms)
                           for entry in self._part(day) if _touches(entry, start_ms, end_ms)]  # fmt: skip
            except Unreadable:
                if attempt == _TRIES - 1 or self._load()[1] == version:
                    raise
                continue
            return Manifest(sorted(entries, key=lambda entry: entry.path), head.positions, version)
        raise AssertionError("the last try returns or raises")

    def commit(
        self,
        version: str | None,
        add: Sequence[ArchivedFile],
        positions: Mapping[str, Mapping[str, str]],
        remove: Sequence[str],
    ) -> str:
        head, found = self._load()
        if found != version:
            raise Lost("the archive's manifest was committed by another process: read it again")
        added: defaultdict[str, dict[str, ArchivedFile]] = defaultdict(dict)
        for entry in add:
            added[entry.date][entry.path] = entry
        gone = set(remove)
        touched = set(added) | {_date_of(path) for path in gone}
        days, new, old = dict(head.days), [], []
        for date in sorted(touched):
            kept = {entry.path: entry for entry in self._part(head.days[date])} if date in head.days else {}
            entries = [entry for path, entry in (kept | added[date]).items() if path not in gone]
            if date in days:
                old.append(days.pop(date).part)
            if entries:
                days[date] = self._write(date, entries)
                new.append(days[date].part)
        taken = {topic: dict(of_topic) for topic, of_topic in positions.items()}
        changed = _Head(positions=taken, days=dict(sorted(days.items())))
        try:
            after = self._store.swap(_HEAD, msgspec.json.encode(changed), version)
        except Lost:
            self._drop(new)
            raise
        self._drop(old)
        return after

    def close(self) -> None:
        self._store.close()

    def _load(self) -> tuple[_Head, str | None]:
        found = self._store.load(_HEAD)
        if found is None:
            return _Head(), None
        value, version = found
        try:
            return msgspec.json.decode(value, type=_Head), version
        except msgspec.MsgspecError as error:
            raise Unreadable(
                f"{self._store.url}/{_HEAD}", f"it is no manifest ({error})", "put it back from a copy"
            ) from error

    def _part(self, day: _Day) -> list[ArchivedFile]:
        try:
            return msgspec.json.decode(self._store.get(day.part), type=list[ArchivedFile])
        except msgspec.MsgspecError as error:
            raise Unreadable(
                f"{self._store.url}/{day.part}", f"it is no part of a manifest ({error})", "put it back from a copy"
            ) from error

    def _write(self, date: str, entries: list[ArchivedFile]) -> _Day:
        part = f"{date}-{secrets.token_hex(8)}.json"
        self._store.put(part, msgspec.json.encode(sorted(entries, key=lambda entry: entry.path)))
        return _Day(
            part,
            len(entries),
            sum(entry.rows for entry in entries),
            min(entry.min_occurred_at for entry in entries),
            max(entry.max_occurred_at for entry in entries),
        )

    def _drop(self, parts: list[str]) -> None:
        for part in parts:
            self._store.delete(part)


def _touches(what: _Day | ArchivedFile, start_ms: int | None, end_ms: int | None) -> bool:
    return (start_ms is None or what.max_occurred_at >= start_ms) and (end_ms is None or what.min_occurred_at < end_ms)


def _date_of(path: str) -> str:
    return next(part.removeprefix("date=") for part in path.split("/") if part.startswith("date="))
