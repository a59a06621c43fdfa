"""Matomo: the rows of its database, the visits that its API tells, or the numbers of days."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ingest.logs.files import ImportFailed
from ingest.migration import sql_dump
from ingest.migration.export import Read, Tell
from ingest.migration.matomo import days, dump, visits
from ingest.migration.members import Member

__all__ = ["days", "read"]


def read(members: Sequence[Member], site: str, theirs: str, tell: Tell) -> Iterator[Read]:
    """Yield what each action of the visits says; `theirs` is the id of the site, where there are several.

    Raises ImportFailed where the files are neither, or hold several sites and none is chosen."""
    of_days = [member.name for member in members if days.is_it([member])]
    if of_days:
        what = f"{of_days[0]} has numbers of days, and other files have visits"
        raise ImportFailed(f"{what}: import them by two commands; the visits of a day count, whichever came first")
    dumps = [member for member in members if sql_dump.is_dump(member)]
    if dumps:
        yield from dump.read(dumps, site, theirs)
    for member in members:
        if member not in dumps:
            yield from visits.read(member, site, theirs, tell)
