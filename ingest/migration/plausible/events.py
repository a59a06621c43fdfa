"""The table `events_v2` that a Plausible of one's own keeps in ClickHouse, as text with the names of its columns, JSON
or Parquet: each row is an event.

A row has no id: one is made of it and of how often it stood in its file before, so that exports may overlap. A visitor
is one for a day, as Plausible's salt makes him. Source and tags are those of the visit, which each of its rows repeats.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from activity.user_agent import Agent
from ingest.logs.files import ImportFailed
from ingest.migration import names
from ingest.migration.address import referrer_of, with_tags
from ingest.migration.dates import time_of_day
from ingest.migration.export import (
    Action,
    Broken,
    Left,
    Read,
    Row,
    Scratch,
    Tell,
    csv_rows,
    header,
    json_objects,
    parquet_rows,
    text_of,
)
from ingest.migration.members import PARQUET, Member
from ingest.migration.sql_dump import from_copy

_REQUIRED = ("timestamp", "name", "site_id", "user_id", "session_id", "pathname")
_OF_SESSIONS = {"session_id", "entry_page", "exit_page"}
_KINDS = {
    "pageview": "pageview", "engagement": "engagement", "Outbound Link: Click": "outbound",
    "File Download": "download", "Form: Submission": "form", "404": "not_found",
}  # fmt: skip
_TAGS = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
_DIRECT = ("", "Direct / None")
_KEY = ("timestamp", "name", "user_id", "session_id", "hostname", "pathname")
_NO_DEPTH = "255"

Values = dict[str, Any]


def is_it(members: Sequence[Member]) -> bool:
    """Return whether one of the files is this table."""
    return any(set(_REQUIRED) <= _names(member) for member in members)


def _names(member: Member) -> set[str]:
    if member.begins(4) == PARQUET or member.first_byte() in (b"{", b"["):
        first = next(_rows(member), None)
        return {*first[1]} if isinstance(first, tuple) and not isinstance(first, Broken) else set()
    return {*header(member)}


def read(members: Sequence[Member], site: str, theirs: str, tell: Tell) -> Iterator[Read]:
    """Yield what each row says; `theirs` is the number of the site, where there are several.

    Raises ImportFailed where there are several and none is chosen."""
    of_events = []
    for member in members:
        names = _names(member)
        if set(_REQUIRED) <= names:
            of_events.append(member)
        else:
            is_of_sessions = names >= _OF_SESSIONS
            which = "sessions, which are made of the events" if is_of_sessions else "no events: import it by itself"
            tell(f"{member.name} has {which}; it is not read")
    found = {str(row[1].get("site_id")) for each in of_events for row in _rows(each) if not isinstance(row, Broken)}
    sites = ", ".join(sorted(found))
    if len(found) > 1 and not theirs:
        raise ImportFailed(f"there are several sites in it, choose one with --their-site: {sites}")
    if theirs and theirs not in found:
        raise ImportFailed(f"there is no site {theirs} in it; there is {sites}")
    for member in of_events:
        with Scratch() as repeats:
            for row in _rows(member):
                if isinstance(row, Broken):
                    yield row
                elif theirs and str(row[1].get("site_id")) != theirs:
                    yield Left(row[0], "other_site")
                else:
                    yield _action(row[0], row[1], site, repeats)


def _rows(member: Member) -> Iterator[tuple[int, Values] | Broken]:
    """Yield the rows, with the line where each stands, whatever ClickHouse was asked to write."""
    if member.begins(4) == PARQUET:
        yield from parquet_rows(member)
    elif member.first_byte() in (b"{", b"["):
        for found in json_objects(member):
            if not isinstance(found, Broken) and isinstance(found[1].get("data"), list):  # FORMAT JSON
                yield from ((found[0], row) for row in found[1]["data"] if isinstance(row, dict))
            else:
                yield found
    elif b"\t" in member.begins(4096).partition(b"\n")[0]:
        yield from _of_tsv(member)
    else:
        for row in csv_rows(member, (), header(member), lambda _: None):
            yield (row.number, {**row.values}) if isinstance(row, Row) else row


def _of_tsv(member: Member) -> Iterator[tuple[int, Values] | Broken]:
    """ClickHouse's TSV has no quotes: tabs and line ends are escaped."""
    names: list[str] = []
    for number, line in enumerate(member.lines(), 1):
        cells = [from_copy(cell) for cell in line.rstrip(b"\r\n").split(b"\t")]
        values = [None if cell is None else text_of(cell) for cell in cells]
        if not names:
            names = [(value or "").strip("\ufeff ") for value in values]
        elif len(values) != len(names):
            yield Broken(number, line, f"{len(values)} values for {len(names)} columns")
        elif not any("(" in (value or "") for value in values) or values[0] != "DateTime":  # …WithNamesAndTypes
            yield number, dict(zip(names, values, strict=True))


def _action(number: int, row: Values, site: str, repeats: Scratch) -> Read:
    def get(name: str) -> str:
        value = row.get(name)
        return "" if value is None else str(value).strip("\0")

    empty = next((name for name in ("timestamp", "name", "user_id") if not get(name)), "")
    if empty:
        return Broken(number, repr(row).encode(), f"the column {empty!r} is empty")
    props = dict(zip(_list(row.get("meta.key")), _list(row.get("meta.value")), strict=False))
    key = "\0".join([*map(get, _KEY), *(f"{name}={value}" for name, value in props.items())])
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    before = int(repeats.find("row", digest).get("times", 0))
    repeats.keep("row", digest, {"times": before + 1})
    name, kind = get("name"), _KINDS.get(get("name"), "custom")
    if kind == "engagement":
        depth = get("scroll_depth")
        props |= {"scroll_depth": int(depth)} if depth.isdecimal() and depth not in ("0", _NO_DEPTH) else {}
    event: dict[str, Any] = {
        "type": kind,
        "name": name if kind == "custom" else "",
        "url": _address(get, site, kind),
        "referrer": referrer_of(get("referrer")) if kind == "pageview" else "",
        "props": props,
        "visitor": f"plausible:{get('user_id')}",
        "ts": time_of_day(get("timestamp")),
        "id": f"plausible:{digest}-{before}",
    }
    if kind == "engagement":
        event["engaged_ms"] = int(get("engagement_time")) if get("engagement_time").isdecimal() else 0
    amount, currency = get("revenue_source_amount"), get("revenue_source_currency")
    if amount and currency:
        event["revenue"] = {"amount": amount, "currency": currency}
    place = names.place_of(get("country_code"), get("subdivision1_code"))
    return Action(number, event, _agent(get), place, get("session_id"))


def _list(value: object) -> list[Any]:
    """Return the texts of an array, which text formats have as ['a','b']."""
    if isinstance(value, list):
        return [each if isinstance(each, str | int | float) else str(each) for each in value]
    try:
        found = ast.literal_eval(str(value or "[]"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return _list(found) if isinstance(found, list) else []


def _address(get: Any, site: str, kind: str) -> str:
    """Return the address of a page, of a page view with the tags that its visit came by."""
    tags = {name: get(name) for name in _TAGS if get(name)} if kind == "pageview" else {}
    if kind == "pageview" and not get("referrer") and not tags and get("referrer_source") not in _DIRECT:
        tags = {"ref": get("referrer_source")}
    host = get("hostname")
    path = f"https://{host if host not in ('', '(none)') else site}/{get('pathname').removeprefix('/')}"
    return with_tags(path, tags)


def _agent(get: Any) -> Agent:
    return Agent(
        names.browser_of(get("browser")),
        get("browser_version").partition(".")[0],
        names.system_of(get("operating_system")),
        get("operating_system_version"),
        names.device_of(get("screen_size")),
    )
