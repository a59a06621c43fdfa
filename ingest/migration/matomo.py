"""Matomo: a dump of its database, or the visits that its API tells (`Live.getLastVisitsDetails` as JSON).

Of a dump, `log_action` and `log_visit` are read first and kept on disk; then each row of `log_link_visit_action`
becomes an event. Of the API's answer, each entry of `actionDetails` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from activity.geo import Place
from activity.user_agent import Agent
from ingest.logs.files import ImportFailed
from ingest.migration import sql_dump
from ingest.migration.export import Action, Broken, Left, Member, Read, Scratch, Tell, json_objects

ACTIONS, VISITS, LINKS = "log_action", "log_visit", "log_link_visit_action"
_TABLES = (ACTIONS, VISITS, LINKS)
_OUTLINK, _DOWNLOAD, _SEARCH = "2", "3", "8"  # `log_action.type`
_PREFIXES = {"0": "http://", "1": "http://www.", "2": "https://", "3": "https://www."}
_BROWSERS = {
    "CH": "Chrome", "CM": "Chrome", "CI": "Chrome", "CV": "Chrome WebView", "CR": "Chromium", "FF": "Firefox",
    "FM": "Firefox", "SF": "Safari", "MF": "Safari", "PS": "Edge", "OP": "Opera", "OM": "Opera", "IE": "IE",
    "SB": "Samsung Internet", "YA": "Yandex Browser", "BR": "Brave", "VI": "Vivaldi",
    "Mobile Safari": "Safari", "Chrome Mobile": "Chrome", "Chrome Mobile iOS": "Chrome", "Firefox Mobile": "Firefox",
    "Microsoft Edge": "Edge", "Internet Explorer": "IE", "Samsung Browser": "Samsung Internet",
}  # fmt: skip
_SYSTEMS = {
    "WIN": "Windows", "MAC": "macOS", "IOS": "iOS", "IPA": "iOS", "AND": "Android", "LIN": "Linux", "UBT": "Ubuntu",
    "COS": "Chrome OS", "Mac": "macOS", "GNU/Linux": "Linux", "iPadOS": "iOS",
}  # fmt: skip
_DEVICES = {
    "0": "desktop", "1": "mobile", "2": "tablet", "3": "mobile", "4": "console", "5": "tv", "10": "mobile",
    "desktop": "desktop", "smartphone": "mobile", "tablet": "tablet", "feature phone": "mobile", "console": "console",
    "tv": "tv", "phablet": "mobile",
}  # fmt: skip
_OF_VISIT = (
    "idsite", "user_id", "referer_type", "referer_url", "referer_name", "referer_keyword", "location_browser_lang",
    "config_browser_name", "config_browser_version", "config_device_type", "config_os", "config_os_version",
    "config_resolution", "location_country", "location_region", "location_city",
)  # fmt: skip
_CAMPAIGN = "6"  # `referer_type`


def read(members: Sequence[Member], site: str, theirs: str, _tell: Tell) -> Iterator[Read]:
    """Yield what each action of the visits says; `theirs` is the id of the site, where there are several.

    Raises ImportFailed where the files are neither, or hold several sites and none is chosen."""
    dumps = [member for member in members if sql_dump.is_dump(member)]
    if dumps:
        yield from _of_dump(dumps, site, theirs)
    for member in members:
        if member not in dumps:
            yield from _of_api(member, site, theirs)


def _of_dump(members: Sequence[Member], site: str, theirs: str) -> Iterator[Read]:
    with Scratch() as kept:
        sites: set[str] = set()
        for row in _rows(members, (ACTIONS, VISITS)):
            if isinstance(row, Broken):
                yield row
            elif row.table == ACTIONS:
                action = {"name": row.text("name"), "type": row.text("type"), "prefix": row.text("url_prefix")}
                kept.keep(ACTIONS, row.text("idaction"), action)
            else:
                sites.add(row.text("idsite"))
                kept.keep(VISITS, row.text("idvisit"), _visit(row))
        _refuse_several(sites, theirs)
        found = False
        for row in _rows(members, (LINKS,)):
            found = True
            if isinstance(row, Broken):
                yield row
            elif theirs and row.text("idsite") != theirs:
                yield Left(row.number, "other_site")
            else:
                yield _link(row, site, kept)
        if not found:
            raise ImportFailed(
                f"no rows of {LINKS} in the dump: dump the tables {', '.join(_TABLES)}, with their structure"
            )


def _rows(members: Sequence[Member], tables: Sequence[str]) -> Iterator[sql_dump.TableRow | Broken]:
    for member in members:
        yield from sql_dump.rows(member, tables)


def _refuse_several(sites: set[str], theirs: str) -> None:
    names = ", ".join(sorted(sites))
    if len(sites) > 1 and not theirs:
        raise ImportFailed(f"there are several sites in it, choose one with --their-site: {names}")
    if theirs and sites and theirs not in sites:
        raise ImportFailed(f"there is no site {theirs} in it; there is {names}")


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

    url, title, before = action("idaction_url"), action("idaction_name"), action("idaction_url_ref")
    event = _of_kind(row, url, title, action("idaction_event_category"), action("idaction_event_action"))
    page = before if url.get("type") in (_OUTLINK, _DOWNLOAD) or not url else url
    address = _address(page) or f"https://{site}/"
    # After the first action, the referrer is the page before.
    event |= {"url": address, "referrer": _address(before)} if before else _origin(address, visit)
    event |= {
        "visitor": f"matomo:{visitor.hex()}",
        "user": visit.get("user_id", ""),
        "language": visit.get("location_browser_lang", ""),
        "screen": visit.get("config_resolution", ""),
        "ts": row.text("server_time").replace(" ", "T", 1),
        "id": f"matomo:{row.text('idlink_va')}",
    }
    return Action(row.number, event, _agent(visit), _place(visit), row.text("idvisit"))


def _of_kind(
    row: sql_dump.TableRow, url: dict[str, Any], title: dict[str, Any], category: dict[str, Any], act: dict[str, Any]
) -> dict[str, Any]:
    """Return what sort of event an action is, and the fields that only this sort has."""
    if category or act:
        return _custom(category.get("name", ""), act.get("name", ""), title.get("name", ""), row.text("custom_float"))
    if title.get("type") == _SEARCH or url.get("type") == _SEARCH:
        term = (title if title.get("type") == _SEARCH else url)["name"]
        return _search(term, row.text("search_cat"), row.text("search_count"))
    if url.get("type") in (_OUTLINK, _DOWNLOAD):
        kind = "outbound" if url["type"] == _OUTLINK else "download"
        return {"type": kind, "props": {"url": _address(url)}}
    return {"type": "pageview", "title": title.get("name", "").strip()}


def _custom(category: str, action: str, name: str, value: str) -> dict[str, Any]:
    props = {"category": category, "name": name, "value": value}
    return {"type": "custom", "name": action or category, "props": {key: text for key, text in props.items() if text}}


def _search(term: str, category: str, count: str) -> dict[str, Any]:
    search: dict[str, Any] = {"term": term}
    if count.isdecimal():
        search["results"] = int(count)
    return {"type": "search", "search": search, "props": {"category": category} if category else {}}


def _address(action: dict[str, Any]) -> str:
    return _PREFIXES.get(action.get("prefix", ""), "") + action["name"] if action.get("name") else ""


def _origin(url: str, visit: dict[str, Any]) -> dict[str, Any]:
    """Return address and referrer so that they say where the visit came from, as its row does."""
    if visit.get("referer_type") == _CAMPAIGN and "utm_" not in url and visit.get("referer_name"):
        tags = {"utm_campaign": visit["referer_name"], "utm_source": visit["referer_name"]}
        if visit.get("referer_keyword"):
            tags["utm_term"] = visit["referer_keyword"]
        url += ("&" if "?" in url else "?") + urlencode(tags)
    return {"url": url, "referrer": visit.get("referer_url", "")}


def _agent(visit: dict[str, Any]) -> Agent:
    browser, system = visit.get("config_browser_name", ""), visit.get("config_os", "")
    return Agent(
        _BROWSERS.get(browser, browser),
        str(visit.get("config_browser_version", "")).partition(".")[0],
        _SYSTEMS.get(system, system),
        str(visit.get("config_os_version", "")),
        _DEVICES.get(str(visit.get("config_device_type", "")).lower(), ""),
    )


def _place(visit: dict[str, Any]) -> Place:
    country, region = visit.get("location_country", "").upper(), visit.get("location_region", "")
    country = country if len(country) == 2 and country != "XX" else ""
    return Place(country, f"{country}-{region}" if country and region else "", visit.get("location_city", ""))


# What the API calls the columns of `log_visit`.
_OF_API = {
    "userId": "user_id", "referrerUrl": "referer_url", "referrerName": "referer_name",
    "referrerKeyword": "referer_keyword", "languageCode": "location_browser_lang", "browserName": "config_browser_name",
    "browserVersion": "config_browser_version", "deviceType": "config_device_type",
    "operatingSystemName": "config_os", "operatingSystemVersion": "config_os_version",
    "resolution": "config_resolution", "countryCode": "location_country", "regionCode": "location_region",
    "city": "location_city",
}  # fmt: skip


def _of_api(member: Member, site: str, theirs: str) -> Iterator[Read]:
    sites: set[str] = set()
    for found in json_objects(member):
        if isinstance(found, Broken):
            continue
        if "actionDetails" not in found[1]:
            raise ImportFailed(
                f"{member.name}, line {found[0]}: no visit of Live.getLastVisitsDetails, which has actionDetails: "
                f"there is {', '.join(found[1])[:200]}"
            )
        sites.add(str(found[1].get("idSite", "")))
    _refuse_several(sites, theirs)
    for found in json_objects(member):
        if isinstance(found, Broken):
            yield found
        elif theirs and str(found[1].get("idSite", "")) != theirs:
            yield Left(found[0], "other_site")
        else:
            yield from _details(*found, site)


def _details(number: int, told: dict[str, Any], site: str) -> Iterator[Read]:
    visit: dict[str, Any] = {ours: str(told[name]) for name, ours in _OF_API.items() if told.get(name)}
    if told.get("referrerType") == "campaign":
        visit["referer_type"] = _CAMPAIGN
    came_from = True
    details = told["actionDetails"]
    if not isinstance(details, list):
        yield Broken(number, repr(told).encode(), "actionDetails is no list")
        return
    for index, detail in enumerate(details):
        if not isinstance(detail, dict):
            yield Broken(number, repr(detail).encode(), f"action {index + 1} of the visit is no object")
            continue
        at = str(detail.get("timestamp"))
        if not at.isdecimal() or not told.get("visitorId"):
            why = f"action {index + 1} of the visit has no timestamp in seconds, or the visit no visitorId"
            yield Broken(number, repr(detail).encode(), why)
            continue
        event = _detail(detail)
        if event is None:
            why = f"action {index + 1}: type {detail.get('type')!r} is no event of a visitor"
            yield Left(number, "action_type", why)
            continue
        url = f"https://{site}/" if event["type"] in ("outbound", "download") else str(detail.get("url") or "")
        url = url or f"https://{site}/"
        event |= _origin(url, visit) if came_from else {"url": url}
        came_from = False
        event |= {
            "visitor": f"matomo:{told['visitorId']}",
            "user": visit.get("user_id", ""),
            "language": visit.get("location_browser_lang", ""),
            "screen": visit.get("config_resolution", ""),
            "ts": int(at[:15]) * 1000,
            "id": f"matomo:{told.get('idVisit')}-{detail.get('pageId') or index}",
        }
        yield Action(number, event, _agent(visit), _place(visit), str(told.get("idVisit")))


def _detail(detail: dict[str, Any]) -> dict[str, Any] | None:
    def text(name: str) -> str:
        return "" if detail.get(name) is None else str(detail[name])

    kind = detail.get("type")
    if kind == "event":
        return _custom(text("eventCategory"), text("eventAction"), text("eventName"), text("eventValue"))
    if kind == "search":
        return _search(text("siteSearchKeyword"), text("siteSearchCategory"), text("siteSearchCount"))
    if kind in ("outlink", "download"):
        return {"type": "outbound" if kind == "outlink" else "download", "props": {"url": text("url")}}
    return {"type": "pageview", "title": text("pageTitle")} if kind == "action" else None
