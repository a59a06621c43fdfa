"""A dump of Umami 1: page views and events in tables of their own, numbered, with whole addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ingest.logs.files import ImportFailed
from ingest.migration import sql_dump
from ingest.migration.export import Action, Broken, Left, Read, Scratch
from ingest.migration.members import Member
from ingest.migration.umami.session import agent_of, place_of, utc

VIEWS, EVENTS, SESSIONS, DATA = "pageview", "event", "session", "event_data"
_OF_SESSION = ("session_uuid", "hostname", "browser", "os", "device", "screen", "language", "country")


def is_it(members: Sequence[Member]) -> bool:
    """Return whether dumps have the tables of version 1 and none of later ones."""
    names = {name for member in members for name in sql_dump.tables(member)}
    return VIEWS in names and "website_event" not in names


def read(members: Sequence[Member], site: str, theirs: str) -> Iterator[Read]:
    """Yield what each page view and event says; `theirs` is the number of the website, where there are several.

    Raises ImportFailed where there are several and none is chosen."""
    with Scratch() as kept:
        sites: set[str] = set()
        for row in _rows(members, (SESSIONS, DATA)):
            if isinstance(row, Broken):
                yield row
            elif row.table == SESSIONS:
                sites.add(row.text("website_id"))
                told = {name: value for name in _OF_SESSION if (value := row.text(name))}
                kept.keep(SESSIONS, row.text("session_id"), told)
            else:
                kept.keep(DATA, row.text("event_id"), _object(row.text("event_data")))
        if len(sites) > 1 and not theirs:
            names = ", ".join(sorted(sites))
            raise ImportFailed(f"there are several websites in it, choose one with --their-site: {names}")
        if theirs and theirs not in sites:
            raise ImportFailed(f"there is no website {theirs} in it; there is {', '.join(sorted(sites))}")
        for row in _rows(members, (VIEWS, EVENTS)):
            if isinstance(row, Broken):
                yield row
            elif theirs and row.text("website_id") != theirs:
                yield Left(row.number, "other_site")
            else:
                yield _action(row, site, kept)


def _rows(members: Sequence[Member], tables: Sequence[str]) -> Iterator[sql_dump.TableRow | Broken]:
    for member in members:
        yield from sql_dump.rows(member, tables, prefixed=False)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _action(row: sql_dump.TableRow, site: str, kept: Scratch) -> Read:
    number = row.text("session_id")
    session = kept.find(SESSIONS, number)
    its_id = row.text("view_id") if row.table == VIEWS else row.text("event_uuid", "event_id")
    if not session or not its_id or not row.text("created_at"):
        why = f"the session {number!r} is not in the dump, or the row has no id or time"
        return Broken(row.number, repr(row.values).encode(), why)

    def of(*names: str) -> str:
        return next((session[name] for name in names if session.get(name)), "")

    host = of("hostname") or site
    url, referrer = row.text("url"), row.text("referrer")
    kind = row.text("event_type")  # until 1.37: its name is the value
    props = kept.find(DATA, row.text("event_id")) if row.table == EVENTS else {}
    event = {
        "type": "pageview" if row.table == VIEWS else "custom",
        "name": row.text("event_name", "event_value") or kind if row.table == EVENTS else "",
        "url": url if "://" in url else f"https://{host}/{url.removeprefix('/')}",
        "referrer": f"https://{host}{referrer}" if referrer.startswith("/") else referrer,
        "screen": of("screen"),
        "language": of("language"),
        "props": props | ({"type": kind} if kind else {}),
        "visitor": f"umami:{of('session_uuid') or number}",
        "ts": utc(row.text("created_at")),
        "id": f"umami:{row.table}:{its_id}",
    }
    return Action(row.number, event, agent_of(of), place_of(of), number)
