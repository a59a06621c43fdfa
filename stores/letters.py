"""Dead letters, and what was done to them.

Rows are only ever added: how a letter stands follows from the last deed to it. What the pipeline stores again, after a
loss or from another broker, has the same id, so the deeds hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import polars as pl

from stores.warehouse import Warehouse

Deed = Literal["edited", "replayed", "discarded"]

_EVER = (0, 2**47)  # ms; 12 hex digits hold as much
_LAST = "g"  # comes after each id
_BINARY = ("received", "left")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as it is stored, see `activity.refusal.DeadLetter`, and the last deed to it."""

    id: str
    received_at: int  # Unix milliseconds
    topic: str  # the path of the request, `import`, or the topic of a record that is no event
    reason: str
    site: str
    visitor: str
    detail: str
    length: int  # of what was received, in bytes; 0 where it is not known
    sender: str  # JSON
    received: bytes  # with addresses masked, and of a long one the beginning
    deed: str = ""  # "" or a `Deed`
    deed_at: int = 0
    left: bytes = b""  # what the deed left

    @property
    def current(self) -> bytes:
        """What a replay sends: the bytes of the last edit, or those that were received."""
        return self.left if self.deed else self.received


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are looked for; the default is all that wait."""

    reason: str = ""  # the beginning of one
    site: str = ""  # "" is any, "-" is none
    from_ms: int = _EVER[0]
    to_ms: int = _EVER[1]  # exclusive
    ids: tuple[str, ...] = ()
    all: bool = False  # those that were replayed or discarded, too


class Letters:
    """The dead letters of a warehouse. Methods raise what `Warehouse` raises."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def find(self, wanted: Filter, limit: int, before: tuple[int, str] = (_EVER[1], _LAST)) -> list[Letter]:
        """The newest letters, at most `limit`; `before` is the time and id of the last one of the page before."""
        from_ms, to_ms = wanted.from_ms, wanted.to_ms
        if wanted.ids:  # their times are in their ids, so only these are looked at
            times = [received_at(each) for each in wanted.ids]
            from_ms, to_ms = max(from_ms, min(times)), min(to_ms, max(times) + 1)
        found = self._warehouse.ask(
            "letters_found",
            from_ms=from_ms,
            to_ms=to_ms,
            before_ms=before[0],
            before_id=before[1],
            reason=wanted.reason,
            site=wanted.site,
            ids=list(wanted.ids),
            all=wanted.all,
            from_id=f"{from_ms:012x}",
            limit=limit,
        )
        deeds = self._deeds(found["id"].to_list())
        return [Letter(**row, **deeds.get(row["id"], {})) for row in _with_bytes(found).iter_rows(named=True)]

    def note(self, deed: Deed, left: Iterable[tuple[str, bytes]], at: int) -> None:
        """Note a deed to letters, each by its id and with the bytes that the deed leaves; `at` is Unix milliseconds."""
        rows = list(left)
        schema = {"id": pl.String, "bytes": pl.Binary}
        frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(at=pl.lit(at), deed=pl.lit(deed))
        if rows:
            self._warehouse.insert("letter_deeds", frame, f"letter_deeds/{deed}/{at}/{rows[0][0]}/{len(rows)}")

    def _deeds(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        found = _with_bytes(self._warehouse.ask("letter_deeds", ids=list(ids))) if ids else pl.DataFrame()
        return {row.pop("id"): row for row in found.iter_rows(named=True)}


def received_at(its_id: str) -> int:
    """When the letter with this id was received, in Unix milliseconds. Raises ValueError for what is no id."""
    if len(its_id) != 28 or not set(its_id) <= set("0123456789abcdef"):
        raise ValueError(f"{its_id!r} is not the id of a dead letter: `footfall dead-letters list` shows them")
    return int(its_id[:12], 16)


def _with_bytes(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(name).cast(pl.Binary) for name in _BINARY if name in frame.columns)
