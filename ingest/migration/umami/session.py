"""What Umami's sessions are here, whatever version has them."""

from __future__ import annotations

from collections.abc import Callable

from activity.geo import Place
from activity.user_agent import Agent
from ingest.migration.dates import time_of_day

BROWSERS = {
    "chrome": "Chrome", "chromium-webview": "Chrome WebView", "crios": "Chrome", "firefox": "Firefox",
    "fxios": "Firefox", "safari": "Safari", "ios": "Safari", "ios-webview": "Safari WebView", "edge": "Edge",
    "edge-chromium": "Edge", "edge-ios": "Edge", "opera": "Opera", "opera-mini": "Opera Mini", "ie": "IE",
    "samsung": "Samsung Internet", "silk": "Amazon Silk", "facebook": "Facebook", "instagram": "Instagram",
    "yandexbrowser": "Yandex Browser",
}  # fmt: skip
SYSTEMS = {"Mac OS": "macOS", "Android OS": "Android", "Amazon OS": "Android", "BlackBerry OS": "BlackBerry OS"}
DEVICES = {"desktop": "desktop", "laptop": "desktop", "mobile": "mobile", "tablet": "tablet"}

Values = Callable[..., str]  # the first of some columns that has a value


def agent_of(of: Values) -> Agent:
    """Return the browser of a session."""
    system, version = system_of(of("os"))
    return Agent(BROWSERS.get(of("browser"), of("browser")), "", system, version, DEVICES.get(of("device"), ""))


def system_of(text: str) -> tuple[str, str]:
    """Return name and version of "Windows 10"; other systems have no version."""
    system, _, version = text.partition(" ") if text.startswith("Windows ") else (text, "", "")
    return SYSTEMS.get(system, system), version


def place_of(of: Values) -> Place:
    """Return the place of a session. Before 2.2 its region is without the country."""
    country, region = of("country"), of("region", "subdivision1")
    return Place(country, f"{country}-{region}" if country and region and "-" not in region else region, of("city"))


def utc(text: str) -> str:
    """Return a time of the database as ISO 8601: it is UTC where it names no offset."""
    return time_of_day(text)
