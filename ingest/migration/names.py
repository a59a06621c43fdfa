"""What the values of lists are called here, whoever has named them and in whatever case: one thing is one row."""

from __future__ import annotations

from activity.attribution import Origin, origin
from activity.geo import Place
from ingest.migration.countries import country_code

_UNNAMED = frozenset(("", "(not set)", "(none)", "(other)", "(data not available)"))
_UNKNOWN = _UNNAMED | {"not set", "unknown", "unk", "undefined", "null"}
_OURS = {
    "Chrome": ("google chrome", "chrome mobile", "chrome mobile ios", "mobile chrome"),
    "Chrome WebView": ("android webview", "chrome webview"),
    "Edge": ("microsoft edge", "edge mobile"),
    "Firefox": ("mozilla firefox", "firefox mobile", "firefox mobile ios", "mobile firefox"),
    "IE": ("internet explorer", "ie mobile"),
    "Opera": ("opera mobile",),
    "Opera Mini": (),
    "Safari": ("mobile safari",),
    "Safari WebView": ("safari (in-app)",),
    "Samsung Internet": ("samsung browser",),
    "Brave": (),
    "Vivaldi": (),
}
_BROWSERS = {name.lower(): ours for ours, others in _OURS.items() for name in (ours, *others)}
_OUR_SYSTEMS = {
    "Android": ("android os", "amazon os"),
    "Chrome OS": ("chromeos", "chromium os"),
    "iOS": ("ipados", "iphone os"),
    "Linux": ("gnu/linux",),
    "macOS": ("mac", "mac os", "mac os x", "macintosh", "os x"),
    "Windows": (),
}
_SYSTEMS = {name.lower(): ours for ours, others in _OUR_SYSTEMS.items() for name in (ours, *others)}
_DEVICES = {
    "desktop": "desktop", "laptop": "desktop", "ultra-wide": "desktop", "mobile": "mobile", "phone": "mobile",
    "smartphone": "mobile", "feature phone": "mobile", "phablet": "mobile", "tablet": "tablet", "tv": "tv",
    "smart tv": "tv", "smarttv": "tv", "console": "console",
}  # fmt: skip


def known(text: str) -> str:
    """Return a value; "" of one that says that nothing is known."""
    return "" if text.lower() in _UNKNOWN else text


def named(text: str) -> str:
    """Return a name that somebody has given, such as an event's, which may be `unknown`; "" where none was given."""
    return "" if text.lower() in _UNNAMED else text


def campaign_of(text: str) -> str:
    """Return a campaign by its name; "" of visits without one, which Google says to be `(direct)`."""
    return "" if text.lower() == "(direct)" else named(text)


def browser_of(text: str) -> str:
    """Return a browser by its name."""
    return _BROWSERS.get(text.lower()) or known(text)


def system_of(text: str) -> str:
    """Return a system by its name."""
    return _SYSTEMS.get(text.lower()) or known(text)


def device_of(text: str) -> str:
    """Return a kind of device by its name; "" of one that is none of ours."""
    return _DEVICES.get(text.lower(), "")


def country_of(text: str) -> str:
    """Return a country by its ISO code in whatever case or by its name; "" of one that says that it is unknown."""
    code = country_code(text) or text
    return "" if code in ("XX", "ZZ") else known(code)


def region_of(text: str, country: str = "") -> str:
    """Return a region by its ISO code, which may lack the country before it; another name of it as it is."""
    plain = known(text)
    if not plain:
        return ""
    if "-" in plain[2:3]:
        return plain.upper() if len(plain) <= 6 else plain
    return f"{country}-{plain.upper()}" if country and len(plain) <= 3 else plain


def place_of(country: str, region: str = "", city: str = "") -> Place:
    """Return a place by the codes of country and region, and the name of its city."""
    code = country_of(country)
    return Place(code, region_of(region, code) if code else "", known(city))


def language_of(text: str) -> str:
    """Return a language as browsers write it: "en-us" is "en-US"."""
    language, mark, country = text.partition("-")
    return f"{language.lower()}-{country.upper()}" if mark and len(country) == 2 else text


def source_of(text: str) -> Origin:
    """Return where visits came from that an export names by a source alone."""
    return origin({"utm_source": text} if known(text) and text not in ("Direct / None", "(direct)") else {}, "")
