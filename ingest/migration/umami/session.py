"""What Umami's sessions are here, whatever version has them."""

from __future__ import annotations

from collections.abc import Callable

from activity.geo import Place
from activity.user_agent import Agent
from ingest.migration import names
from ingest.migration.dates import time_of_day

_BROWSERS = {
    "chromium-webview": "Chrome WebView", "crios": "Chrome", "fxios": "Firefox", "ios": "Safari",
    "ios-webview": "Safari WebView", "edge-chromium": "Edge", "edge-ios": "Edge", "opera-mini": "Opera Mini",
    "samsung": "Samsung Internet", "silk": "Amazon Silk", "facebook": "Facebook", "instagram": "Instagram",
    "yandexbrowser": "Yandex Browser",
}  # fmt: skip

Values = Callable[..., str]  # the first of some columns that has a value


def agent_of(of: Values) -> Agent:
    """Return the browser of a session."""
    system, version = system_of(of("os"))
    return Agent(browser_of(of("browser")), "", system, version, names.device_of(of("device")))


def browser_of(text: str) -> str:
    """Return a browser by Umami's code of it."""
    return _BROWSERS.get(text.lower()) or names.browser_of(text)


def system_of(text: str) -> tuple[str, str]:
    """Return name and version of "Windows 10"; other systems have no version."""
    system, _, version = text.partition(" ") if text.lower().startswith("windows ") else (text, "", "")
    return names.system_of(system), version


def place_of(of: Values) -> Place:
    """Return the place of a session. Before 2.2 its region is without the country."""
    return names.place_of(of("country"), of("region", "subdivision1"), of("city"))


def utc(text: str) -> str:
    """Return a time of the database as ISO 8601: it is UTC where it names no offset."""
    return time_of_day(text)
