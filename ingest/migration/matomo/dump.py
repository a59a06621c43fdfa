"""A dump of Matomo's database.

`log_action` and `log_visit` are read first and kept on disk; then each row of `log_link_visit_action` becomes an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ingest.logs.files import ImportFailed
from ingest.migration import names, sql_dump
from ingest.migration.export import Action, Broken, Left, Read, Scratch
from ingest.migration.matomo import values
from ingest.migration.members import Member

ACTIONS, VISITS, LINKS = "log_action", "log_visit", "log_link_visit_action"
_TABLES = (ACTIONS, VISITS, LINKS)
_OUTLINK, _DOWNLOAD, _SEARCH = "2", "3", "8"  # `log_action.type`
_PREFIXES = {"0": "http://", "1": "http://www.", "2": "https://", "3": "https://www."}
_OF_VISIT = (
    "idsite", "user_id", "referer_type", "referer_url", "referer_name", "referer_keyword", "location_browser_lang",
    "config_browser_name", "config_browser_version", "config_device_type", "config_os", "config_os_version",
    "config_resolution", "location_country", "location_region", "location_city", *values.CAMPAIGN_COLUMNS,
)  # fmt: skip


def read(members: Sequence[Member], site: str, theirs: str) -> Iterator[Read]:
    """Yield what each action of the visits says; `theirs` is the id of the site, where there are several.

    Raises ImportFailed where a table is missing, or there are several sites and none is chosen."""
    with Scratch() as kept:
        sites: set[str] = set()
        there = set[str]()
        for row in _rows(members, (ACTIONS, VISITS)):
            if isinstance(row, Broken):
                yield row
                continue
            there.add(row.table)
            if row.table == ACTIONS:
                action = {"name": row.text("name"), "type": row.text("type"), "prefix": row.text("url_prefix")}
                kept.keep(ACTIONS, row.text("idaction"), action)
            else:
                sites.add(row.text("idsite"))
                kept.keep(VISITS, row.text("idvisit"), _visit(row))
        values.refuse_several(sites, theirs)
        there |= {LINKS} if next(_rows(members, (LINKS,)), None) else set()
        missing = {*_TABLES} - there
        if missing:  # without addresses or visits every row would say less than it did
            raise ImportFailed(
                f"no rows of {', '.join(sorted(missing))} in the dump: dump the tables {', '.join(_TABLES)}, with their"
                " structure, and without --tab"
            )
        for row in _rows(members, (LINKS,)):
            if isinstance(row, Broken):
                yield row
            elif theirs and row.text("idsite") != theirs:
                yield Left(row.number, "other_site")
            else:
                yield _link(row, site, kept)


def _rows(members: Sequence[Member], tables: Sequence[str]) -> Iterator[sql_dump.TableRow | Broken]:
    for member in members:
        yield from sql_dump.rows(member, tables, mysql=True)


def _visit(row: sql_dump.TableRow) -> dict[str, Any]:
    return {name: value for name in _OF_VISIT if (value := row.text(name))}


def _link(row: sql_dump.TableRow, site: str, kept: Scratch) -> Read:
    raw = repr(row.values).encode()
    visit = kept.find(VISITS, row.text("idvisit"))
    visitor = row.values.get("idvisitor")
    if not visitor or not row.text("idlink_va") or not row.text("server_time"):
        return Broken(row.number, raw, "idlink_va, idvisitor or server_time is empty")

    def action(name: str) -> dict[str, Any]:
        return kept.find(ACTIONS, row.text(name)) if row.text(name) not in ("", "0") else {}

    if row.text("idaction_content_name") not in ("", "0"):
        return Left(row.number, "action_type", "it is an impression of content, no event of a visitor")
    url, title, before = action("idaction_url"), action("idaction_name"), action("idaction_url_ref")
    if not url and row.text("idaction_url") not in ("", "0"):
        return Broken(row.number, raw, f"the address {row.text('idaction_url')} is not in {ACTIONS}")
    event = _of_kind(row, url, title, action("idaction_event_category"), action("idaction_event_action"))
    page = before if url.get("type") in (_OUTLINK, _DOWNLOAD) or not url else url
    address = _address(page) or f"https://{site}/"
    # After the first action, the referrer is the page before.
    event |= {"url": address, "referrer": _address(before)} if before else values.origin(address, visit)
    event |= {
        "visitor": f"matomo:{visitor.hex()}",
        "user": visit.get("user_id", ""),
        "language": names.language_of(visit.get("location_browser_lang", "")),
        "screen": visit.get("config_resolution", ""),
        "ts": row.text("server_time").replace(" ", "T", 1),
        "id": f"matomo:{row.text('idlink_va')}",
    }
    return Action(row.number, event, values.agent(visit), values.place(visit), row.text("idvisit"))


def _of_kind(
    row: sql_dump.TableRow, url: dict[str, Any], title: dict[str, Any], category: dict[str, Any], act: dict[str, Any]
) -> dict[str, Any]:
    """Return what sort of event an action is, and the fields that only this sort has."""
    if category or act:
        words = [part.get("name", "") for part in (category, act, title)]
        return values.custom(words[0], words[1], words[2], row.text("custom_float"))
    if title.get("type") == _SEARCH or url.get("type") == _SEARCH:
        term = (title if title.get("type") == _SEARCH else url)["name"]
        return values.search(term, row.text("search_cat"), row.text("search_count"))
    if url.get("type") in (_OUTLINK, _DOWNLOAD):
        kind = "outbound" if url["type"] == _OUTLINK else "download"
        return {"type": kind, "props": {"url": _address(url)}}
    return {"type": "pageview", "title": title.get("name", "").strip()}


def _address(action: dict[str, Any]) -> str:
    return _PREFIXES.get(action.get("prefix", ""), "") + action["name"] if action.get("name") else ""
