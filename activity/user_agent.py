"""What sent a request: browser, operating system, kind of device, and whether a person sits in front of it.

Browser and system come from ua-parser's rules, bots from crawlerdetect's patterns. Both are matched by ua-parser's
Rust engine: crawlerdetect's own single alternation of 1,400 patterns takes milliseconds per agent in Python, while
the same patterns behind a prefilter take microseconds. Building the two matchers takes a moment, which the first call
pays for (call `parse("…")` at start-up to pay it there).

We add four rules to theirs. An agent that names neither a browser nor a system nor a device is a program on its own,
such as a monitor. A window of a desktop application (Electron) has a person in front of it, whatever the application
is called. So has a browser for text terminals, which names no system. A browser's agent with an operator's address or
another program's name added, as fetchers of assistants write it, is that program.

Results are kept in a bounded LRU cache by the agent's text, which on its own is not personal data and so may outlive
the daily salt.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version

import msgspec
import ua_parser_rs
from crawlerdetect.providers.crawlers import data as crawler_patterns
from crawlerdetect.providers.exclusions import data as exclusion_patterns
from ua_parser.core import Domain
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

LONGEST = 512  # characters read of an agent; real ones are shorter


class Agent(msgspec.Struct, frozen=True, gc=False):
    """What a `User-Agent` header says; unknown texts are "". `bot` is "" for a person, else a short name of the bot."""

    browser: str = ""
    browser_version: str = ""
    os: str = ""
    os_version: str = ""
    device: str = ""  # desktop, mobile, tablet, tv, console
    bot: str = ""


NO_AGENT = Agent(bot="no-agent")

# One name per browser; `device` says that it ran on a phone.
_BROWSERS = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Chrome Mobile WebView": "Chrome WebView",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "Safari WebView",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Edge Mobile": "Edge",
    "Edge iOS": "Edge",
    "Opera Mobile": "Opera",
    "IE Mobile": "IE",
    "HeadlessChrome": "Chrome",
    "Other": "",
}
_SYSTEMS = {"Mac OS X": "macOS", "Other": ""}
_DESKTOPS = frozenset(
    (
        "Windows", "macOS", "Linux", "Chrome OS", "Ubuntu", "Debian", "Fedora", "Mint", "Red Hat", "SUSE",
        "CentOS", "Gentoo", "Arch Linux", "Slackware", "Mandriva", "FreeBSD", "OpenBSD", "NetBSD", "Solaris",
    )
)  # fmt: skip
_PHONES = frozenset(("Windows Phone", "Windows Mobile", "BlackBerry OS", "KaiOS", "Firefox OS", "Symbian OS", "webOS"))
# Searched for in lower case: ignoring case takes the engine many times as long.
_TV = re.compile(r"smart-?tv|\btv\b|appletv|hbbtv|googletv|crkey|roku|bravia|\baft[a-z]")
_TV_WORDS = ("tv", "crkey", "roku", "bravia", "aft")  # without one of these the pattern is not tried
_CONSOLE = re.compile(r"playstation|xbox|nintendo")
_TABLET = re.compile(r"ipad|tablet|kindle|\bsilk\b|playbook|kf[a-z]{3,4}\b")
# ua-parser's name for agents of which it knows only the first letters. A real phone of that era lists its features.
_PHONE_BY_GUESS = "Generic Feature Phone"
_PHONE = re.compile(r"midp|cldc|j2me|\bwap\b|mobi|browser", re.IGNORECASE)
_TEXT_BROWSER = re.compile(r"(?:(?:emacs-)?w3m|e?links|lynx|edbrowse|retawq|browsh)(?![^ /(])", re.IGNORECASE)
_LIBRARY = re.compile(r"libwww-FM/[^ ]+")  # the library that Lynx uses; bots use libwww-perl
# The application's name between the engine and Chromium; one that calls itself a bot counts as a bot.
_APPLICATION = re.compile(r"(?<=Gecko\) )(?:(?![^ ]*(?:bot|crawl|spider))[^ ]+ )+?(?=Chrome/)", re.IGNORECASE)
_PRODUCT = re.compile(r"[^\s/;()]+")
# What a program adds to a browser's agent: its operator's address, or its own name in one of these forms. The bounds
# keep an agent that is made for it from taking long.
_ADDED = re.compile(
    r"(?:Safari/[\d.]{1,16} \(|Gecko[);]{1,2} ?)compatible; ([\w.-]{1,40})|(?<![\w.])([\w.]{1,30}-User)\b"
    r"|\b(Google-[A-Z]\w{1,30}|NotebookLM|Checkly)\b|(?<![\w.-])([\w.-]{1,40})(?:/[\w.]{1,16})?;? ?\(?\+https?://"
    r"|Safari/[\d.]{1,16}; (\w{1,40})/|\([\w.+-]{1,40}@[\w-]{1,40}\.[a-z]"
)
_TABLET_WORDS = ("ipad", "tablet", "kindle", "silk", "playbook", "kf")
_HEADLESS = re.compile(r"headless|phantomjs|slimerjs|puppeteer|playwright")
_LOOKS_AROUND = re.compile(r"\(\?<?[=!]")  # Rust's regular expressions have no look-around
_NOT_NAME = re.compile(r"[^a-z0-9.]+")


class _Matchers:
    """ua-parser's rules and crawlerdetect's, compiled."""

    def __init__(self) -> None:
        self.agents = Resolver(load_lazy_builtins())
        self.exclusions = re.compile("|".join(exclusion_patterns), re.IGNORECASE)
        self.crawlers = ua_parser_rs.UserAgentExtractor(
            (f"(?i)({pattern})", "$1", None, None, None, None)
            for pattern in crawler_patterns
            if not _LOOKS_AROUND.search(pattern)
        )
        self.others = re.compile(
            "|".join(pattern for pattern in crawler_patterns if _LOOKS_AROUND.search(pattern)) or "(?!)",
            re.IGNORECASE,
        )

    def crawler(self, text: str) -> str:
        """The part of the agent that crawlerdetect recognises as a crawler; "" if there is none."""
        rest = self.exclusions.sub("", text).strip()
        if not rest:
            return ""
        if (found := self.crawlers.extract(rest)) is not None:
            return str(found.family)
        match = self.others.search(rest)
        return match.group() if match else ""


@cache
def _matchers() -> _Matchers:
    return _Matchers()


def parse(user_agent: str) -> Agent:
    """Returns what a `User-Agent` header says; only its first 512 characters are read.

    An empty or absent header counts as the bot "no-agent". Never raises.
    """
    text = user_agent[:LONGEST]
    return _parse(text if text.isascii() else text.encode("utf-8", "replace").decode())


@lru_cache(maxsize=8192)
def _parse(user_agent: str) -> Agent:
    text = user_agent.strip()
    if not text or text == "-":
        return NO_AGENT
    matchers = _matchers()
    found = matchers.agents(text, Domain.ALL)
    browser, browser_version, os, os_version, device = "", "", "", "", ""
    if found.user_agent:
        browser = _BROWSERS.get(found.user_agent.family, found.user_agent.family)
        browser_version = found.user_agent.major or ""
    if found.os:
        os = _SYSTEMS.get(found.os.family, found.os.family)
        os_version = ".".join(filter(None, (found.os.major, found.os.minor)))
    device = _device(text, os)
    family = found.device.family if found.device else ""
    bot = _bot(text, browser if family == "Spider" else "") or _added(text)
    is_known = browser or os or (family and family != _PHONE_BY_GUESS) or _PHONE.search(text)
    if not bot and not is_known and not _TEXT_BROWSER.match(text):
        bot = _named(_first_product(text))
    return Agent(browser, browser_version, os, os_version, device, bot)


def _device(text: str, os: str) -> str:
    lower = text.lower()
    if _CONSOLE.search(lower):
        return "console"
    if os == "tvOS" or (_mentions(lower, _TV_WORDS) and _TV.search(lower)):
        return "tv"
    if _mentions(lower, _TABLET_WORDS) and _TABLET.search(lower):
        return "tablet"
    if os == "Android":
        return "mobile" if "Mobile" in text else "tablet"
    if os == "iOS" or os in _PHONES:
        return "mobile"
    if os in _DESKTOPS:
        return "desktop"
    return "mobile" if "Mobi" in text else ""


def _mentions(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def _bot(text: str, spider: str) -> str:
    """The name of the bot that this agent is, its own name if it has one; "" for a person."""
    if _HEADLESS.search(text.lower()):
        return "headless"
    if " Electron/" in text:
        text = _APPLICATION.sub("", text)
        spider = spider if spider in text else ""
    elif _TEXT_BROWSER.match(text):
        text = _LIBRARY.sub("", text)
    known = _matchers().crawler(text)
    if not known and not spider:
        return ""
    return _named(known if spider in _BROWSERS.values() else spider)


def _added(text: str) -> str:
    found = _ADDED.search(text)
    return _named(next(filter(None, found.groups()), "")) if found else ""


def _first_product(text: str) -> str:
    found = _PRODUCT.search(text)
    return found.group() if found else ""


def _named(text: str) -> str:
    return _NOT_NAME.sub("-", text.lower()).strip("-")[:40] or "crawler"


@cache
def data_version() -> str:
    """Returns the versions of the data that `parse` uses, for an event's `enriched_by`: "ua=202610 bots=0.4.2".

    A version is "unknown" where the package's metadata is not installed.
    """
    return f"ua={_version('ua-parser-builtins')} bots={_version('crawlerdetect')}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # the zip of a serverless function may lack the packages' metadata
        return "unknown"
