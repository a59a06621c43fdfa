"""The export of a website of Umami's (CSV files, zipped), its rows as JSON, or a dump of its database.

Its tables `session` and `event_data` are read first and kept on disk; then each row of `website_event` becomes an
event. The cloud's export has the columns of the session in `website_event` itself. Version 1 has other tables
(`version_1`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from ingest.logs.files import ImportFailed
from ingest.migration import sql_dump
from ingest.migration.address import with_query, with_tags
from ingest.migration.export import Action, Broken, Left, Read, Scratch, Tell
from ingest.migration.members import Member
from ingest.migration.umami import answers, version_1
from ingest.migration.umami.answers import Table
from ingest.migration.umami.session import Values, agent_of, place_of, utc

EVENTS, SESSIONS, DATA = "website_event", "session", "event_data"
_TABLES = (EVENTS, SESSIONS, DATA)
_ID = {EVENTS: "event_id", SESSIONS: "session_id", DATA: ""}
_REQUIRED = {
    EVENTS: ("event_id", "session_id", "created_at", "url_path", "event_type"),
    SESSIONS: ("session_id",),
    DATA: (),
}
_OF_SESSION = ("hostname", "browser", "os", "device", "screen", "language", "country", "region", "subdivision1",
               "subdivision2", "city", "distinct_id")  # fmt: skip
_TAGS = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "gclid", "fbclid", "msclkid", "ttclid",
         "li_fat_id", "twclid")  # fmt: skip
_KNOWN = {
    EVENTS: (*_OF_SESSION, "website_id", "visit_id", "url_query", "referrer_path", "referrer_query", "referrer_domain",
             "page_title", "event_name", "tag", *_TAGS, "job_id", "lcp", "inp", "cls", "fcp", "ttfb"),
    SESSIONS: (*_OF_SESSION, "website_id", "created_at", "ip"),
    DATA: ("event_data_id", "website_id", "session_id", "event_id", "website_event_id", "url_path", "event_name",
           "data_key", "event_key", "string_value", "number_value", "date_value", "data_type", "created_at", "job_id",
           # as version 2.0 has them
           "event_string_value", "event_numeric_value", "event_date_value", "event_data_type"),
}  # fmt: skip
_NAMED = {"1": "pageview", "2": "custom"}


def read(members: Sequence[Member], site: str, theirs: str, tell: Tell) -> Iterator[Read]:
    """Yield what each row of `website_event` says; `theirs` is the id of the website, where there are several.

    Raises ImportFailed where the files are no export of Umami, or of several websites and none is chosen."""
    with Scratch() as kept:
        dumps = [sql_dump.is_dump(member) for member in members]
        if all(dumps) and version_1.is_it(members):
            yield from version_1.read(members, site, theirs)
            return
        tables = _tables_of(members, dumps, tell)
        for table, dump in tables:
            yield from _keep_dump(table.member, kept) if dump else _keep(table, kept, tell)
        answers.tell_what_lacks([table for table, dump in tables if not dump], tell)
        sites = _Sites(kept, theirs)
        found = False
        for table, dump in tables:
            tags = _TAGS if dump else [name for name in answers.names(table) if name in _TAGS]
            for row in _events(table, dump):
                found = True
                if isinstance(row, Broken):
                    yield row
                    continue
                number, get, raw = row
                if sites.takes(get("website_id")):
                    yield _action(number, get, raw, site, kept, tags)
                else:
                    yield Left(number, "other_site")
        if not found:
            names = ", ".join(member.name for member in members)
            raise ImportFailed(f"no table website_event in {names}: the export of a website, or a dump, has one")


def _tables_of(members: Sequence[Member], dumps: list[bool], tell: Tell) -> list[tuple[Table, bool]]:
    """Return the tables, each with whether it is a dump of several; without what is none, where there are events."""
    found: list[tuple[Table, bool]] = []
    faults: dict[str, ImportFailed] = {}
    of_events = False
    for member, dump in zip(members, dumps, strict=True):
        for table in [Table(member)] if dump else answers.tables(member, _TABLES):
            try:
                of_events |= dump or _kind_of(table) == EVENTS
                found.append((table, dump))
            except ImportFailed as error:
                faults[str(table)] = error
    for name, fault in faults.items():
        if not of_events:
            raise fault
        tell(f"{name} is none of the tables, and not read")
    return found


class _Sites:
    """Which website's rows are taken: the one that is named, or the only one."""

    def __init__(self, kept: Scratch, theirs: str) -> None:
        found = sorted(kept.find("sites", "").get("ids", []))
        if len(found) > 1 and not theirs:
            raise ImportFailed(f"there are several websites in it, choose one with --their-site: {', '.join(found)}")
        if theirs and found and theirs not in found:
            raise ImportFailed(f"there is no website {theirs} in it; there is {', '.join(found)}")
        self._theirs = theirs

    def takes(self, website: str) -> bool:
        return not self._theirs or website == self._theirs


def _keep(table: Table, kept: Scratch, tell: Tell) -> Iterator[Broken]:
    kind = _kind_of(table)
    for row in answers.rows(table, _REQUIRED[kind], _KNOWN[kind], tell):
        if isinstance(row, Broken):
            if kind != EVENTS:
                yield row
        else:
            _keep_row(kind, row.get, kept)


def _keep_dump(member: Member, kept: Scratch) -> Iterator[Broken]:
    for row in sql_dump.rows(member, _TABLES, prefixed=False):
        if isinstance(row, Broken):
            continue  # told when the events are read
        _keep_row(row.table, row.text, kept)
    yield from ()


def _keep_row(table: str, get: Values, kept: Scratch) -> None:
    website = get("website_id")
    if website and kept.add("site", website):
        kept.keep("sites", "", {"ids": [*kept.find("sites", "").get("ids", []), website]})
    if table == SESSIONS:
        kept.keep(SESSIONS, get("session_id"), {name: value for name in _OF_SESSION if (value := get(name))})
    elif table == DATA:
        name = get("data_key", "event_key")
        if name:
            kept.merge(DATA, get("website_event_id", "event_id"), {name: _value(get)})


def _value(get: Values) -> str | float | bool:
    kind, number = get("data_type", "event_data_type"), get("number_value", "event_numeric_value")
    text = get("string_value", "event_string_value")
    if kind == "2" and number:
        try:
            amount = float(number)
        except ValueError:
            return number
        return int(amount) if amount.is_integer() else amount
    if kind == "3":
        return text == "true"
    return text or get("date_value", "event_date_value") or number


def _events(table: Table, dump: bool) -> Iterator[tuple[int, Values, bytes] | Broken]:
    if dump:
        for found in sql_dump.rows(table.member, _TABLES, prefixed=False):
            if isinstance(found, Broken):
                yield found
            elif found.table == EVENTS:
                yield found.number, found.text, repr(found.values).encode()
    elif _kind_of(table) == EVENTS:
        for row in answers.rows(table, _REQUIRED[EVENTS], _KNOWN[EVENTS], lambda _: None):
            yield row if isinstance(row, Broken) else (row.number, row.get, row.raw)


def _kind_of(table: Table) -> str:
    """Return which of Umami's tables it is, by its columns. Raises ImportFailed where it is none of them."""
    names = set(answers.names(table))
    if names >= set(_REQUIRED[EVENTS]):
        return EVENTS
    if names & {"data_key", "event_key"}:
        return DATA
    if {"url_path", "event_type"} <= names:
        missing = next(name for name in _REQUIRED[EVENTS] if name not in names)
        there = ", ".join(sorted(names))[:200]
        raise ImportFailed(f"{table}, line 1: the column {missing!r} of {EVENTS} is missing; there is {there}")
    if {"session_id", "browser"} <= names:
        return SESSIONS
    if names == {"x", "y"}:
        raise ImportFailed(
            f"{table} is of Umami's export of a range, which does not say of which days it is: export one day at"
            " a time and name it with --day, or take the export of the website, or a dump"
        )
    stem = table.name or PurePath(table.member.name).stem
    if stem in _TABLES:
        return stem  # which says what is missing
    there = ", ".join(sorted(names))[:200]
    raise ImportFailed(f"{table}, line 1: none of Umami's tables {', '.join(_TABLES)}; its columns are {there}")


def _action(number: int, get: Values, raw: bytes, site: str, kept: Scratch, tags: Sequence[str]) -> Read:
    empty = next((name for name in ("event_id", "session_id", "created_at") if not get(name)), "")
    if empty:
        return Broken(number, raw, f"the column {empty!r} is empty")
    kind = _NAMED.get(get("event_type"))
    if kind is None:
        why = f"the column 'event_type' has {get('event_type')!r}, neither a page view (1) nor an event (2)"
        return Left(number, "event_type", why)
    session: dict[str, Any] = kept.find(SESSIONS, get("session_id"))

    def of(*names: str) -> str:
        return get(*names) or next((session[name] for name in names if session.get(name)), "")

    host, path = of("hostname") or site, get("url_path")
    url = path if "://" in path.partition("?")[0] else f"https://{host}/{path.removeprefix('/')}"
    event = {
        "type": kind,
        "name": get("event_name") if kind == "custom" else "",
        "url": _tagged(with_query(url, get("url_query").removeprefix("?")), get, tags),
        "title": get("page_title"),
        "referrer": _referrer(get),
        "screen": of("screen"),
        "language": of("language"),
        "props": kept.find(DATA, get("event_id")) | ({"tag": get("tag")} if get("tag") else {}),
        "visitor": f"umami:{get('session_id')}",
        "user": of("distinct_id"),
        "ts": utc(get("created_at")),
        "id": f"umami:{get('event_id')}",
    }
    return Action(number, event, agent_of(of), place_of(of), get("visit_id") or get("session_id"))


def _tagged(address: str, get: Values, tags: Sequence[str]) -> str:
    """Return an address with the tags that stand in columns of their own, where it does not have them itself."""
    lacks = {name: value for name in tags if (value := get(name)) and f"{name}=" not in address}
    return with_tags(address, lacks) if lacks else address


def _referrer(get: Values) -> str:
    domain = get("referrer_domain")
    address = f"https://{domain}/{get('referrer_path').removeprefix('/')}"
    return with_query(address, get("referrer_query").removeprefix("?")) if domain else ""
