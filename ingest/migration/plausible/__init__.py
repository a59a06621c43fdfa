"""Plausible: its exports and its API's answers, which have days, or the events that a server of one's own keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ingest.migration.export import Tell
from ingest.migration.members import Member
from ingest.migration.plausible import answers, days, events
from ingest.migration.totals import Counted

__all__ = ["events", "read"]


def read(members: Sequence[Member], site: str, theirs: str, tell: Tell) -> Iterator[Counted]:
    """Yield what each row of exports and answers says of a day. Raises ImportFailed where a file is none of them."""
    of_json = [member for member in members if member.first_byte() in (b"{", b"[")]
    others = [member for member in members if member not in of_json]
    pages = answers.Pages(tell)
    for member in answers.in_order(of_json, tell):
        yield from answers.read(member, pages)
    files = pages.end()
    if others:
        yield from days.read(others, site, theirs, tell, files)
