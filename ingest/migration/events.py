"""Events of an export's rows: each is read and enriched as an event that its sender dates, and batched for the import.

Its visitor is named by the product's own id, and its id is made from the product's: so the same export again, or a
later one that holds the same rows, adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from activity.enrich import SiteRules, enrich
from activity.event import Event, named_visitor
from activity.incoming import DEFAULT_LIMITS
from activity.lenient import from_object
from activity.refusal import Reason, Refusal
from ingest.logs.batch import Batch
from ingest.logs.events import PROTOCOL
from ingest.logs.together import Together
from ingest.migration.export import Action, Left, Read


def batches(rows: Iterable[Read], site: SiteRules, key: bytes, received_at: int, size: int) -> Iterator[Batch]:
    """Yield what the rows came to, `size` a batch; `key` is the site's import key, `received_at` milliseconds UTC."""
    rest = iter(rows)
    while some := list(islice(rest, size)):
        batch, together = Batch(len(some)), Together()
        for row in some:
            if isinstance(row, Action):
                _take(row, batch, together, site, key, received_at)
            elif isinstance(row, Left):
                batch.refuse(row.reason)
                if row.detail:
                    batch.refused_lines.append((row.number, row.detail))
            else:
                batch.not_understood.append((row.number, row.row, row.why))
        batch.accepted = together.accepted()
        yield batch


def _take(row: Action, batch: Batch, together: Together, site: SiteRules, key: bytes, received_at: int) -> None:
    made = _events(row, site, key, received_at)
    if isinstance(made, Refusal):
        batch.refuse(str(made.reason))
        no_time = f"the time {row.event.get('ts')!r} is none between 1990 and 2100, such as 2024-05-31T12:00:00Z"
        batch.refused_lines.append((row.number, no_time if made.reason is Reason.INVALID_TIME else made.detail))
    else:
        together.add_made(made)


def _events(row: Action, site: SiteRules, key: bytes, received_at: int) -> list[Event] | Refusal:
    fields = {name: value for name, value in row.event.items() if value not in ("", None)}
    incoming = from_object(0, fields | {"site": site.domain}, DEFAULT_LIMITS)
    if isinstance(incoming, Refusal):
        return incoming
    return enrich(
        incoming,
        site=site,
        visitor=named_visitor(site.domain, key, incoming.visitor),
        received_at=received_at,
        agent=row.agent,
        fresh_id="",
        place=row.place,
        protocol=PROTOCOL,
        trusted=True,
    )
