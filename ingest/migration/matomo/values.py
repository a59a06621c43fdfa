"""What Matomo's values are here, whether its database or its API has them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from activity.geo import Place
from activity.user_agent import Agent
from ingest.logs.files import ImportFailed

CAMPAIGN = "6"  # `referer_type`
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


def known(text: str) -> str:
    """Return a value; "" for what Matomo does not know."""
    return "" if text in ("Unknown", "unknown", "UNK") else text


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
    if visit.get("referer_type") == CAMPAIGN and "utm_" not in url and visit.get("referer_name"):
        tags = {"utm_campaign": visit["referer_name"], "utm_source": visit["referer_name"]}
        if visit.get("referer_keyword"):
            tags["utm_term"] = visit["referer_keyword"]
        url += ("&" if "?" in url else "?") + urlencode(tags)
    return {"url": url, "referrer": visit.get("referer_url", "")}


def browser_of(text: str) -> str:
    """Return a browser by its code or name."""
    return _BROWSERS.get(known(text), known(text))


def system_of(text: str) -> str:
    """Return a system by its code or name."""
    return _SYSTEMS.get(known(text), known(text))


def device_of(text: str) -> str:
    """Return a kind of device by its number or name."""
    return _DEVICES.get(text.lower(), "")


def agent(visit: dict[str, Any]) -> Agent:
    """Return the browser of a visit, which has the columns of `log_visit`."""
    return Agent(
        browser_of(visit.get("config_browser_name", "")),
        str(visit.get("config_browser_version", "")).partition(".")[0],
        system_of(visit.get("config_os", "")),
        known(str(visit.get("config_os_version", ""))),
        device_of(str(visit.get("config_device_type", ""))),
    )


def place(visit: dict[str, Any]) -> Place:
    """Return the place of a visit, which has the columns of `log_visit`."""
    country, region = visit.get("location_country", "").upper(), visit.get("location_region", "")
    country = country if len(country) == 2 and country != "XX" else ""
    return Place(country, f"{country}-{region}" if country and region else "", known(visit.get("location_city", "")))
