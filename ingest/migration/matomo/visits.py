"""The visits that Matomo's API tells: `Live.getLastVisitsDetails` as JSON, XML, CSV or TSV.

Each entry of a visit's `actionDetails` becomes an event. Of a table, these are columns: `actionDetails_0_url`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ingest.logs.files import ImportFailed
from ingest.migration import names
from ingest.migration.export import Action, Broken, Left, Read, Tell, csv_rows, header, json_objects
from ingest.migration.matomo import values, xml
from ingest.migration.matomo.days import ASK_FOR_ALL, CUT
from ingest.migration.members import Member

_OF_ACTION = re.compile(r"actionDetails_(\d+)_(\w+)")
_FORMULA = re.compile(r"'(?=%?[=+@-])")  # Matomo writes a quote before what a spreadsheet would compute

_CUT = 10  # visits of an answer, if it was not asked for more
Told = tuple[int, dict[str, Any]]  # the line where a visit begins, and what is told of it

# What the API calls the columns of `log_visit`.
_OF_API = {
    "userId": "user_id", "referrerUrl": "referer_url", "referrerName": "referer_name",
    "referrerKeyword": "referer_keyword", "languageCode": "location_browser_lang", "browserName": "config_browser_name",
    "browserVersion": "config_browser_version", "deviceType": "config_device_type",
    "operatingSystemName": "config_os", "operatingSystemVersion": "config_os_version",
    "resolution": "config_resolution", "countryCode": "location_country", "regionCode": "location_region",
    "city": "location_city", "campaignName": "campaign_name", "campaignSource": "campaign_source",
    "campaignMedium": "campaign_medium", "campaignKeyword": "campaign_keyword", "campaignContent": "campaign_content",
    "referrerType": "referer_type",
}  # fmt: skip


def read(member: Member, site: str, theirs: str, tell: Tell) -> Iterator[Read]:
    """Yield what each action says; `theirs` is the id of the site, where there are several.

    Raises ImportFailed where the file is no such answer, or holds several sites and none is chosen."""
    sites: set[str] = set()
    why, count = "", 0
    for found in _visits(member):
        if isinstance(found, Broken):
            why = why or f": line {found.number}: {found.why}"
            continue
        if "nb_visits" in found[1]:
            raise ImportFailed(
                f"{member.name} has numbers and no days: ask Matomo with period=day and a range of days, such as"
                " date=2024-05-01,2024-05-31"
            )
        if "actionDetails" not in found[1]:
            raise ImportFailed(
                f"{member.name}, line {found[0]}: no visit of Live.getLastVisitsDetails, which has actionDetails: "
                f"there is {', '.join(found[1])[:200]}"
            )
        sites.add(str(found[1].get("idSite", "")))
        count += 1
    if count in (_CUT, CUT):
        tell(f"{member.name} has {count} visits, as many as Matomo tells by itself: {ASK_FOR_ALL}")
    if not sites and member.first_byte() != b"{":
        raise ImportFailed(f"{member.name}: there is no visit in it{why}")
    values.refuse_several(sites, theirs)
    for found in _visits(member):
        if isinstance(found, Broken):
            yield found
        elif theirs and str(found[1].get("idSite", "")) != theirs:
            yield Left(found[0], "other_site")
        else:
            yield from _details(*found, site)


def _visits(member: Member) -> Iterator[Told | Broken]:
    first = member.first_byte()
    if first in (b"{", b"["):
        yield from _of_json(member)
    elif first == b"<":
        yield from xml.rows(member)
    else:
        yield from _of_table(member)


def _of_json(member: Member) -> Iterator[Told | Broken]:
    """Yield the visits; of several days or sites there is a list of each."""
    for found in json_objects(member):
        if isinstance(found, Broken):
            yield found
            continue
        number, row = found[0], {key: values.listed(value) for key, value in found[1].items()}
        if row.get("result") == "error":
            raise ImportFailed(f"{member.name}: Matomo's answer is: {row.get('message')}")
        if row and "actionDetails" not in row and all(isinstance(value, list) for value in row.values()):
            inner = [visit for visits in row.values() for visit in visits]
            yield from ((number, visit) for visit in inner if isinstance(visit, dict))
        else:
            yield number, row


def _of_table(member: Member) -> Iterator[Told | Broken]:
    names = header(member)
    if not {"idVisit", "visitorId", "actionDetails_0_type"} <= {*names}:
        text = member.begins(200).decode("utf-8", "replace").strip()
        if text.startswith(("No data available", "Error:")):
            raise ImportFailed(f"{member.name}: Matomo's answer is: {text}")
        if {"label", "Label", "nb_visits"} & {*names}:
            raise ImportFailed(
                f"{member.name} has no column of days: ask Matomo with period=day, a range of days such as"
                " date=2024-05-01,2024-05-31, and translateColumnNames=0"
            )
        raise ImportFailed(
            f"{member.name}, line 1: neither a dump nor Live.getLastVisitsDetails, which has idVisit, visitorId and"
            f" actionDetails (as CSV with translateColumnNames=0): there is {', '.join(names)[:200]}"
        )
    of_action = {name: match for name in names if (match := _OF_ACTION.fullmatch(name))}
    for row in csv_rows(member, (), names, lambda _: None):
        if isinstance(row, Broken):
            yield row
            continue
        visit: dict[str, Any] = {}
        actions: dict[int, dict[str, Any]] = {}
        for name, value in row.values.items():
            text = _FORMULA.sub("", value, count=1) if value and value[0] == "'" else value or ""
            if match := of_action.get(name):
                if text:
                    actions.setdefault(int(match[1]), {})[match[2]] = text
            else:
                visit[name] = text
        yield row.number, visit | {"actionDetails": [actions[index] for index in sorted(actions)]}


def _details(number: int, told: dict[str, Any], site: str) -> Iterator[Read]:
    visit: dict[str, Any] = {ours: str(told[name]) for name, ours in _OF_API.items() if told.get(name)}
    if visit.get("referer_type") == "campaign":
        visit["referer_type"] = values.CAMPAIGN
    came_from, page = True, f"https://{site}/"
    details = values.listed(told["actionDetails"])
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
        url = page if event["type"] in ("outbound", "download") else str(detail.get("url") or "")
        if "://" not in url.partition("?")[0]:
            url = f"https://{site}{url}" if url[:1] in ("", "/") else f"https://{url}"
        page = url  # from which a link out is followed
        event |= values.origin(url, visit) if came_from else {"url": url}
        came_from = False
        its_id = detail.get("pageId") or f"{told.get('idVisit')}-{index}"
        event |= {
            "visitor": f"matomo:{told['visitorId']}",
            "user": visit.get("user_id", "").strip(),
            "language": names.language_of(visit.get("location_browser_lang", "")),
            "screen": visit.get("config_resolution", ""),
            "ts": int(at[:15]) * 1000,
            # The row's own id, which a dump has too.
            "id": f"matomo:{its_id}",
        }
        yield Action(number, event, values.agent(visit), values.place(visit), str(told.get("idVisit")))


def _detail(detail: dict[str, Any]) -> dict[str, Any] | None:
    def text(name: str) -> str:
        return "" if detail.get(name) is None else str(detail[name])

    kind = detail.get("type")
    if kind == "event":
        return values.custom(text("eventCategory"), text("eventAction"), text("eventName"), text("eventValue"))
    if kind == "search":
        return values.search(text("siteSearchKeyword"), text("siteSearchCategory"), text("siteSearchCount"))
    if kind in ("outlink", "download"):
        return {"type": "outbound" if kind == "outlink" else "download", "props": {"url": text("url")}}
    return {"type": "pageview", "title": text("pageTitle")} if kind == "action" else None
