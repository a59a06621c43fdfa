"""What Matomo's values are here, whether its database or its API has them."""

from __future__ import annotations

import re
from typing import Any

from activity.geo import Place
from activity.user_agent import Agent
from ingest.logs.files import ImportFailed
from ingest.migration import names
from ingest.migration.address import with_tags

CAMPAIGN = "6"  # `referer_type`
_WITH_NAME = frozenset(("2", "3", "7", "8", "search", "website", "social", "ai", "ai-assistant"))
_TAGS = re.compile(
    r"[?&](?:utm|mtm|pk|piwik|matomo)_(source|medium|campaign|cpn|term|keyword|kwd|content)=[^&#]", re.IGNORECASE
)
_TAGS_OF = {"cpn": "campaign", "keyword": "term", "kwd": "term"}
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)+")
_OF_PLUGIN = {
    "utm_campaign": "campaign_name", "utm_source": "campaign_source", "utm_medium": "campaign_medium",
    "utm_term": "campaign_keyword", "utm_content": "campaign_content",
}  # fmt: skip
CAMPAIGN_COLUMNS = tuple(_OF_PLUGIN.values())
_BROWSERS = {
    "CH": "Chrome", "CM": "Chrome", "CI": "Chrome", "CV": "Chrome WebView", "CR": "Chromium", "FF": "Firefox",
    "FM": "Firefox", "SF": "Safari", "MF": "Safari", "PS": "Edge", "OP": "Opera", "OM": "Opera", "IE": "IE",
    "SB": "Samsung Internet", "YA": "Yandex Browser", "BR": "Brave", "VI": "Vivaldi",
}  # fmt: skip
_SYSTEMS = {
    "WIN": "Windows", "MAC": "macOS", "IOS": "iOS", "IPA": "iOS", "AND": "Android", "LIN": "Linux", "UBT": "Ubuntu",
    "COS": "Chrome OS",
}  # fmt: skip
_DEVICES = {
    "0": "desktop", "1": "mobile", "2": "tablet", "3": "mobile", "4": "console", "5": "tv", "10": "mobile",
}  # fmt: skip


def refuse_several(sites: set[str], theirs: str) -> None:
    """Raise ImportFailed where there are several sites and none is chosen, or the chosen one is not there."""
    names = ", ".join(sorted(sites))
    if len(sites) > 1 and not theirs:
        raise ImportFailed(f"there are several sites in it, choose one with --their-site: {names}")
    if theirs and sites and theirs not in sites:
        raise ImportFailed(f"there is no site {theirs} in it; there is {names}")


def listed(value: Any) -> Any:
    """Return a list that PHP wrote as an object, because it has gaps; anything else as it is."""
    is_list = isinstance(value, dict) and value and all(key.isdecimal() and len(key) < 8 for key in value)
    return list(value.values()) if is_list else value


def custom(category: str, action: str, name: str, value: str) -> dict[str, Any]:
    """Return the fields of an event of Matomo's."""
    props = {"category": category, "name": name, "value": value}
    return {"type": "custom", "name": action or category, "props": {key: text for key, text in props.items() if text}}


def search(term: str, category: str, count: str) -> dict[str, Any]:
    """Return the fields of a search on the site."""
    found: dict[str, Any] = {"term": term}
    if count.isdecimal():
        found["results"] = int(count)
    return {"type": "search", "search": found, "props": {"category": category} if category else {}}


def origin(url: str, visit: dict[str, Any]) -> dict[str, Any]:
    """Return address and referrer so that they say where the visit came from, as its row does."""
    name, referrer, kind = (visit.get(each, "") for each in ("referer_name", "referer_url", "referer_type"))
    there = {f"utm_{_TAGS_OF.get(tag.lower(), tag.lower())}" for tag in _TAGS.findall(url)}
    if kind == CAMPAIGN and name:
        tags = {"utm_campaign": name, "utm_source": name, "utm_term": visit.get("referer_keyword", "")}
        # The plug-in Marketing Campaigns Reporting has columns of its own.
        of_plugin = {tag: value for tag, column in _OF_PLUGIN.items() if (value := visit.get(column))}
        url = with_tags(url, {tag: value for tag, value in (tags | of_plugin).items() if tag not in there})
    elif name and not referrer and kind in _WITH_NAME:
        if _HOST.fullmatch(name):
            referrer = f"https://{name}/"
        elif "utm_source" not in there:
            url = with_tags(url, {"ref": name})
    return {"url": url, "referrer": referrer}


def browser_of(text: str) -> str:
    """Return a browser by its code or name."""
    return _BROWSERS.get(text) or names.browser_of(text)


def system_of(text: str) -> str:
    """Return a system by its code or name."""
    return _SYSTEMS.get(text) or names.system_of(text)


def device_of(text: str) -> str:
    """Return a kind of device by its number or name."""
    return _DEVICES.get(text) or names.device_of(text)


def agent(visit: dict[str, Any]) -> Agent:
    """Return the browser of a visit, which has the columns of `log_visit`."""
    return Agent(
        browser_of(visit.get("config_browser_name", "")),
        names.known(str(visit.get("config_browser_version", "")).partition(".")[0]),
        system_of(visit.get("config_os", "")),
        names.known(str(visit.get("config_os_version", ""))),
        device_of(str(visit.get("config_device_type", ""))),
    )


def place(visit: dict[str, Any]) -> Place:
    """Return the place of a visit, which has the columns of `log_visit`."""
    country = visit.get("location_country", "")
    region, city = visit.get("location_region", ""), visit.get("location_city", "")
    return names.place_of(country if len(country) == 2 else "", region, city)
