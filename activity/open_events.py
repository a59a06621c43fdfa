"""The events of the sessions that can still change, held so that a batch costs what it touches.

`session.advance` needs the events of the batch's visitors, and `session.prune` those that are about to expire. An
`OpenEvents` finds both without looking at the rest, whether ten thousand visitors are open or a million.

Rows. Every event is a row of fixed width: its numbers, and for each text a code of one dictionary that counts how
often it uses a text and forgets one that no row uses. Rows are gathered and freed by their number, and a freed row is
used again. Memory grows by pages and nothing is moved when it does.

Visitors. Which rows a visitor has stands in sorted runs of (visitor, row). An addition makes a run of its own, and
runs are merged as soon as they are of like size, so there are few of them. An entry whose row was freed is passed
over, and dropped when its run is merged.

Expiry. A calendar says by the minute of the watermark which visitors to look at. It holds, for each visitor, a time
that is not later than the first at which something of that visitor expires. So an event enters the calendar only when
it begins a chain; and a visitor that was looked at enters again with what is then its first time.

Additions. The events also remember which addition brought them, so that whoever stores each addition can ask what is
left of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from activity import chains, session
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS, MINUTE_MS
from activity.session import STATE_COLUMNS

Array = npt.NDArray[Any]

_TEXTS = [name for name, kind in STATE_COLUMNS.items() if kind == pl.String()]
_NUMBERS = [name for name in STATE_COLUMNS if name not in _TEXTS]
_KINDS = {pl.UInt64(): "u8", pl.Int64(): "i8", pl.Boolean(): "?"}
_ROW = np.dtype(
    [
        *((name, _KINDS[STATE_COLUMNS[name]]) for name in _NUMBERS),
        ("texts", "u4", (len(_TEXTS),)),
        ("addition", "u4"),
    ],
    align=True,
)

# Rows are copied as so many bytes each, which takes a tenth of the time that copying them field by field does.
_BYTES = np.dtype((np.void, _ROW.itemsize))

# A handle is a row's number in the lower half, and in the upper one how often the row was taken and freed: odd while
# it is in use. So the handle of a row that was freed is never one that is in use again.
_TURN = np.uint64(1 << 32)
_NUMBER = np.uint64((1 << 32) - 1)

_FIRST_PAGE = 1 << 20
_LONGEST_RUN = 1 << 20


class OpenEvents:
    """The events of open sessions, one copy of each (`session.STATE_COLUMNS`, without nulls)."""

    def __init__(self, events: pl.DataFrame | None = None) -> None:
        self.height = 0
        self._rows = _Rows()
        self._texts = _Texts()
        self._index = _Index(self._rows)
        self._calendar: dict[int, list[tuple[Array, Array]]] = {}  # by minute: times (ms) and visitors
        self._added: dict[int, Array] = {}  # by addition: the handles it brought
        self._left: dict[int, int] = {}  # by addition: how many of them are in use
        self._last_found = _NOTHING_FOUND  # visitors and their rows
        self._additions = 0
        if events is not None and events.height:
            self.add(events)

    def frame(self) -> pl.DataFrame:
        """All events, in no particular order."""
        return self._events(self._rows.used())

    def of(self, visitors: pl.Series) -> pl.DataFrame:
        """The events of these visitors (UInt64) on all sites, in no particular order."""
        return self._events(self._of(visitors.to_numpy()))

    def add(self, events: pl.DataFrame) -> int:
        """Take events in; returns the number of this addition, for `left`, `still` and `join`.

        `events` has at least STATE_COLUMNS and may have copies. Of several copies of an event the least one stays,
        whether it was there or comes now."""
        self._additions += 1
        self._added[self._additions], self._left[self._additions] = np.empty(0, np.uint64), 0
        taken = session.canonical(session.only(STATE_COLUMNS, events))
        there = self._of(taken["visitor"].to_numpy())
        before = self._rows.gather(there)
        suspect = there[_among(before["id_lo"], taken["id_lo"].to_numpy())]
        replaced = np.empty(0, there.dtype)
        if len(suspect):
            deduped = session.dedupe(taken, self._events(suspect).with_columns(number=suspect))
            taken, replaced = deduped.fresh, deduped.retracted["number"].to_numpy()
            before = before[~np.isin(there, replaced)]
            self._remove(replaced)
        if taken.height:
            self._put(taken, before, again=bool(len(replaced)))
        return self._additions

    def _put(self, taken: pl.DataFrame, before: Array, again: bool) -> None:
        """Take events that are not there. `before` are the rows of their visitors, all of which enter the calendar
        `again` when an event of theirs was replaced."""
        rows = np.empty(taken.height, _ROW)
        for name in _NUMBERS:
            rows[name] = taken[name].to_numpy()
        rows["texts"] = self._texts.encode(taken)
        rows["addition"] = self._additions
        handles = self._rows.put(rows)
        self._index.add(rows["visitor"], handles)
        self._last_found = _NOTHING_FOUND
        self._added[self._additions], self._left[self._additions] = handles, len(handles)
        self.height += len(handles)
        both = np.concatenate([before.view(_BYTES), rows.view(_BYTES)]).view(_ROW)
        first = chains.chains(_keys(both)).first
        first = first if again else first[first >= len(before)]
        entering = both.take(first)
        self._enter(entering["occurred_at"] + _EXPIRES, entering["visitor"])

    def prune(self, watermark: int) -> pl.DataFrame:
        """Remove what can no longer change at this watermark (ms); returns the sessions that became final.

        As `session.prune` does; the sessions have `session.COLUMNS`."""
        numbers = self._of(self._due(watermark))
        if not len(numbers):
            return session.empty_sessions()
        rows = self._rows.gather(numbers)
        keys = _keys(rows)
        last = chains.ends(keys)
        final, out_of_sight = session.expired(keys, last, watermark)
        closed = session.sessions(self._events(numbers[final])) if final.any() else session.empty_sessions()
        leaves = final | out_of_sight
        self._remove(numbers[leaves])
        self._index.tidy(self.height)
        time, visitor = rows["occurred_at"][~leaves], rows["visitor"][~leaves]
        out_of_sight_at = ((time + DAY_MS + GAP_MS) // DAY_MS + 1) * DAY_MS + HORIZON_MS
        expires = np.minimum(last[~leaves] + _EXPIRES, out_of_sight_at)
        order = np.lexsort((expires, visitor))
        first = order[_first_of_each(visitor[order])]
        self._enter(expires[first], visitor[first])
        return closed

    def left(self, addition: int) -> int:
        """How many events of an addition are still there."""
        return self._left[addition]

    def still(self, additions: Iterable[int]) -> pl.DataFrame:
        """The events of these additions that are still there (STATE_COLUMNS)."""
        return self._events(_numbers(self._handles(additions)))

    def join(self, additions: Iterable[int]) -> int:
        """Make one addition of several; returns its number. Theirs are no more."""
        gone = list(additions)
        handles = self._handles(gone)
        for addition in gone:
            del self._added[addition], self._left[addition]
        self._additions += 1
        self._rows.put_addition(_numbers(handles), self._additions)
        self._added[self._additions], self._left[self._additions] = handles, len(handles)
        return self._additions

    def _handles(self, additions: Iterable[int]) -> Array:
        handles = np.concatenate([np.empty(0, np.uint64), *(self._added[addition] for addition in additions)])
        return handles[self._rows.in_use(handles)]

    def _of(self, visitors: Array) -> Array:
        """The rows of visitors, by number. A batch's are needed twice: for its sessions and when it is added."""
        ordered = np.sort(visitors)
        distinct = ordered[_first_of_each(ordered)]
        found = self._last_found  # steps in several threads may ask at once
        if not np.array_equal(found[0], distinct):
            found = self._last_found = distinct, _numbers(self._index.find(distinct))
        return found[1]

    def _events(self, numbers: Array) -> pl.DataFrame:
        rows = self._rows.gather(numbers)
        columns = {name: pl.Series(name, np.ascontiguousarray(rows[name])) for name in _NUMBERS}
        columns |= self._texts.decode(rows["texts"])
        return pl.DataFrame([columns[name] for name in STATE_COLUMNS])

    def _remove(self, numbers: Array) -> None:
        rows = self._rows.gather(numbers)
        self._texts.release(rows["texts"])
        self._rows.free(numbers)
        self._last_found = _NOTHING_FOUND
        self.height -= len(numbers)
        for addition, count in zip(*np.unique(rows["addition"], return_counts=True), strict=True):
            left = self._left[int(addition)] = self._left[int(addition)] - int(count)
            if not left:
                self._added[int(addition)] = np.empty(0, np.uint64)

    def _enter(self, times: Array, visitors: Array) -> None:
        """Have visitors looked at when the watermark comes to these times (ms)."""
        if not len(times):
            return
        order = np.argsort(times, kind="stable")
        times, visitors = times[order], visitors[order]
        begins = np.flatnonzero(_first_of_each(times // MINUTE_MS))
        for begin, end in zip(begins, [*begins[1:], len(times)], strict=True):
            minute = int(times[begin]) // MINUTE_MS
            self._calendar.setdefault(minute, []).append((times[begin:end].copy(), visitors[begin:end].copy()))

    def _due(self, watermark: int) -> Array:
        """Take the visitors to look at by now out of the calendar."""
        now = watermark // MINUTE_MS
        found = [entry for minute in [m for m in self._calendar if m <= now] for entry in self._calendar.pop(minute)]
        if not found:
            return np.empty(0, np.uint64)
        times, visitors = (np.concatenate(parts) for parts in zip(*found, strict=True))
        early = times > watermark
        if early.any():
            self._enter(times[early], visitors[early])
        return visitors[~early]


_NOTHING_FOUND = np.empty(0, np.uint64), np.empty(0, np.int64)

# From this long after its last event a chain is final.
_EXPIRES = GAP_MS + HORIZON_MS + 1


def _numbers(handles: Array) -> Array:
    return (handles & _NUMBER).astype(np.int64)


def _keys(rows: Array) -> chains.Keys:
    """What chains are made by; `site` as its text's code."""
    visitor, time, high, low = (np.ascontiguousarray(rows[n]) for n in ("visitor", "occurred_at", "id_hi", "id_lo"))
    return chains.Keys(visitor, rows["texts"][:, _TEXTS.index("site")], time, (high, low))


def _among(values: Array, some: Array) -> Array:
    """Which values are among some others; sorting these is several times as fast as `np.isin` on a few hundred."""
    ordered = np.sort(some)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    among: Array = ordered[place] == values
    return among


def _first_of_each(ordered: Array) -> Array:
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return first


class _Rows:
    """Rows by number. Each page is as long as all before it together, and its memory is taken as it is written to."""

    def __init__(self) -> None:
        self._pages: list[Array] = []
        self._starts: list[int] = [0]
        self._handles = np.empty(0, np.uint64)  # by row
        self._free = np.empty(0, np.int64)
        self._begun = 0  # rows from here on were never used

    def put(self, rows: Array) -> Array:
        """Keep rows; returns their handles."""
        again = self._free[max(0, len(self._free) - len(rows)) :]
        self._free = self._free[: len(self._free) - len(again)]
        begun = self._begun
        self._begun += len(rows) - len(again)
        numbers = np.concatenate([again, np.arange(begun, self._begun)])
        while self._starts[-1] < self._begun:
            length = max(_FIRST_PAGE, self._starts[-1])
            self._pages.append(np.zeros(length, _ROW))
            self._starts.append(self._starts[-1] + length)
            self._handles = np.concatenate([self._handles, np.arange(*self._starts[-2:], dtype=np.uint64)])
        for page, here, at in self._by_page(numbers):
            page.view(_BYTES)[at] = rows.view(_BYTES)[here]
        handles: Array = self._handles[numbers] + _TURN
        self._handles[numbers] = handles
        return handles

    def gather(self, numbers: Array) -> Array:
        """A copy of these rows."""
        if len(self._pages) == 1:
            return self._pages[0].take(numbers)
        rows = np.empty(len(numbers), _ROW)
        for page, here, at in self._by_page(numbers):
            rows.view(_BYTES)[here] = page.take(at).view(_BYTES)
        return rows

    def put_addition(self, numbers: Array, addition: int) -> None:
        """Say of these rows that another addition brought them."""
        for page, _, at in self._by_page(numbers):
            page["addition"][at] = addition

    def _by_page(self, numbers: Array) -> Iterable[tuple[Array, Array, Array]]:
        """Each page with the places in `numbers` of those that are in it, and their places in the page."""
        page_of = np.searchsorted(self._starts, numbers, side="right") - 1
        for page, rows in enumerate(self._pages):
            here = np.flatnonzero(page_of == page)
            if len(here):
                yield rows, here, numbers[here] - self._starts[page]

    def free(self, numbers: Array) -> None:
        """Give rows back."""
        self._handles[numbers] += _TURN
        self._free = np.concatenate([self._free, numbers])

    def in_use(self, handles: Array) -> Array:
        """Whether the row of each handle is still the one that it was made for."""
        current: Array = self._handles[_numbers(handles)] == handles
        return current

    def used(self) -> Array:
        """The numbers of all rows in use."""
        used: Array = np.flatnonzero(self._handles & _TURN)
        return used


class _Index:
    """The rows of each visitor: runs of visitors and handles, sorted by visitor, the longest run first."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        self._runs: list[tuple[Array, Array]] = []
        self._turn = 0

    def add(self, visitors: Array, handles: Array) -> None:
        order = np.argsort(visitors)
        self._insert(visitors[order], handles[order])

    def find(self, visitors: Array) -> Array:
        """The handles in use of these visitors, which are sorted and distinct."""
        found = [np.empty(0, np.uint64)]
        for keys, handles in self._runs:
            begin = np.searchsorted(keys, visitors)
            begin = begin[keys[np.minimum(begin, len(keys) - 1)] == visitors]
            if len(begin):
                length = np.searchsorted(keys, keys[begin], side="right") - begin
                skipped = begin - np.cumsum(length) + length
                found.append(handles[np.repeat(skipped, length) + np.arange(length.sum())])
        all_found = np.concatenate(found)
        return all_found[self._rows.in_use(all_found)]

    def tidy(self, height: int) -> None:
        """When half of the entries are of freed rows, drop those of one run: each time the next one's."""
        if sum(len(keys) for keys, _ in self._runs) > 2 * height + _LONGEST_RUN // 16:
            self._turn += 1
            self._insert(*self._runs.pop(self._turn % len(self._runs)))

    def _insert(self, keys: Array, handles: Array) -> None:
        """Put a run in, merged with those that are not at least twice as long."""
        while self._runs and len(self._runs[-1][0]) < 2 * len(keys) <= _LONGEST_RUN:
            other_keys, other_handles = self._runs.pop()
            keys, handles = np.concatenate([other_keys, keys]), np.concatenate([other_handles, handles])
            order = np.argsort(keys, kind="stable")  # linear: it merges what is sorted
            keys, handles = keys[order], handles[order]
        used = self._rows.in_use(handles)
        if not used.all():
            keys, handles = keys[used], handles[used]
        if len(keys):
            self._runs.append((keys, handles))
            self._runs.sort(key=lambda run: -len(run[0]))


class _Texts:
    """A dictionary of the texts in use: a code for each, and how many times it is used."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []  # by code
        self._uses = np.zeros(1 << 12, np.int64)  # by code
        self._free: list[int] = []

    def encode(self, events: pl.DataFrame) -> Array:
        """The codes of the text columns, a row an event; each counts as used once more."""
        distinct, number = chains.numbered(pl.concat([events[name] for name in _TEXTS]))
        codes: Array = np.array([self._code(text) for text in distinct], np.uint32)[number]
        np.add.at(self._uses, codes, 1)
        return codes.reshape(len(_TEXTS), -1).T

    def _code(self, text: str) -> int:
        code = self._codes.get(text)
        if code is None:
            if self._free:
                code = self._free.pop()
                self._texts[code] = text
            else:
                code = len(self._texts)
                self._texts.append(text)
                if code == len(self._uses):
                    self._uses = np.concatenate([self._uses, np.zeros_like(self._uses)])
            self._codes[text] = code
        return code

    def decode(self, codes: Array) -> dict[str, pl.Series]:
        """The text columns of rows of codes."""
        count, every = len(codes), codes.T.reshape(-1)
        # Number the distinct codes without sorting: the last to be put in its code's place stands for all the others.
        place, number = np.empty(len(self._uses), np.uint32), np.arange(len(every), dtype=np.uint32)
        place[every] = number
        distinct = every[place[every] == number]
        place[distinct] = np.arange(len(distinct), dtype=np.uint32)
        texts = pl.Series([self._texts[code] for code in distinct.tolist()], dtype=pl.String)[place[every]]
        return {name: texts.slice(n * count, count).alias(name) for n, name in enumerate(_TEXTS)}

    def release(self, codes: Array) -> None:
        """Count rows of codes as used once less, and forget the texts that no row uses any more."""
        np.subtract.at(self._uses, codes.reshape(-1), 1)
        unused = np.unique(codes[self._uses[codes] == 0]).tolist()
        for code in unused:
            del self._codes[self._texts[code]]
            self._texts[code] = ""
        self._free += unused
