"""What sent a request: browser, operating system, kind of device, and whether a person sits in front of it.

Browser and system come from ua-parser's rules, bots from crawlerdetect's patterns. Both are matched by ua-parser's
Rust engine: crawlerdetect's own single alternation of 1,400 patterns takes milliseconds per agent in Python, while
the same patterns behind a prefilter take microseconds. Building the two matchers takes a moment, which the first call
pays for (call `parse("…")` at start-up to pay it there).

We add to theirs. An agent that names neither a system nor a device is a program on its own, such as a monitor, unless
it begins as browsers' agents do; so is a tool of the command line that names its system. A window of a desktop
application (Electron) has a person in front of it, whatever the application is called. So has a browser for text
terminals, which names no system, and a phone whose model has a bot's name. A browser's agent with an operator's
address or another program's name added, as fetchers of assistants write it, is that program; so is one that holds
what attacks a server. A television or a console is a device, whatever its program is called. Browsers and applications
that ua-parser takes for the engine they stand on have rules of our own, which are asked first.

Results are kept in a bounded LRU cache by the agent's text, which on its own is not personal data and so may outlive
the daily salt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from string import ascii_letters, digits

import msgspec
import ua_parser_rs
from crawlerdetect.providers.crawlers import data as crawler_patterns
from crawlerdetect.providers.exclusions import data as exclusion_patterns
from ua_parser.core import Domain
from ua_parser.lazy import OSMatcher, UserAgentMatcher
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

from activity.devices import PHONE, device_of, mentions, room_of

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
    "DuckDuckGo Mobile": "DuckDuckGo",
    "Ecosia Android": "Ecosia",
    "Ecosia iOS": "Ecosia",
    "QQ Browser Mobile": "QQ Browser",
    "Opera Touch": "Opera",
    "WeChat Browser": "WeChat",
    "Other": "",
}
# Browsers and applications by what they add to the agent of their engine; the first group is the version.
_OUR_BROWSERS = {
    r"\bLinkedInApp\]?/(\d+)": "LinkedIn",
    r"\bFxiOS/Focus(?:iOS)?/(\d+)": "Firefox Focus",
    r"\bMicroMessenger/(\d+)": "WeChat",
    r"\bKAKAOTALK[ /](\d+)": "KakaoTalk",
    r"\bNAVER\(inapp; search; \d+; (\d+)": "NAVER",
    r"\bBarcelona (\d+)": "Threads",
    r"\bReddit/(?:Version )?(\d+)": "Reddit",
    r"\bViber/(\d+)": "Viber",
    r"\bBing(?:Sapphire|Web)/(\d+)": "Bing",
    r"\bSafari/[\d.]+Snapchat(\d+)": "Snapchat",
    r"\bMetaIAB Facebook(?:/(\d+))?": "Facebook",
    r"\bGNews Android/(\d+)": "Google News",
    r"\bAliApp\(AP/(\d+)": "Alipay",
    r"\bAliApp\(TB/(\d+)": "Taobao",
    r"\bDingTalk[/(](\d+)": "DingTalk",
    r"\bLark(?:Locale)?/(\d+)": "Lark",
    r"__weibo__(\d+)": "Weibo",
    r" QQ/(\d+)": "QQ",
    r"\bGmail(?:iOS)?/(\d+)": "Gmail",
    r"\b[Dd]iscord/(\d+)": "Discord",
    r"\bChatGPT/(\d+)": "ChatGPT",
    r"\bHuaweiBrowser/(\d+)": "Huawei Browser",
    r"\bHeyTapBrowser/(\d+)": "HeyTap Browser",
    r"\bYa(?:Search)?Browser/(\d+)": "Yandex Browser",
    r"\bQuark/(\d+)": "Quark",
    r"\bMZBrowser/(\d+)": "Meizu Browser",
    r"\bSogouMobileBrowser/(\d+)": "Sogou Mobile Browser",
    r"\bOppoBrowser/(\d+)": "Oppo Browser",
    r"\bYJApp-[A-Z]+ [\w.]+/(\d+)": "Yahoo! Japan",
    r"\bGoogleApp/(\d+)": "Google",
    r"\bVivaldi/(\d+)": "Vivaldi",
    r"\bUCBrowser/(\d+)": "UC Browser",
    r"\bLibreWolf/(\d+)": "LibreWolf",
    r"\bArc/(\d+)": "Arc",
    r"\bQIHU 360[A-Z]E(?:/(\d+))?": "360 Secure Browser",
    r"\bEpicGamesLauncher/(\d+)": "Epic Games Launcher",
    r"\bNetSurf/(\d+)": "NetSurf",
    r"\bDillo[/ ](\d+)": "Dillo",
    r"\bw3m/(\d+)": "w3m",
    r"\bE[Ll]inks[/ ]\(?(\d+)": "ELinks",
    r"\bURL/Emacs Emacs/(\d+)": "Emacs",
    r"\bWebPositive/(\d+)": "WebPositive",
    r"\bABrowse (\d+)": "ABrowse",
}
_OF_PEOPLE = frozenset((*_BROWSERS.values(), *_OUR_BROWSERS.values()))
_ELECTRON = re.compile(r"Gecko\) ([A-Za-z][\w.-]{1,39})/(\d+)")  # of an agent that has it, the application
_OUR_SYSTEMS = {r"\bOpenHarmony (\d+)\.(\d+)": "HarmonyOS", r"; HarmonyOS(?:[ /](\d+)\.(\d+))?;": "HarmonyOS"}
_IN_HAND, _OF_APPS = frozenset(("mobile", "tablet")), frozenset(("Android", "iOS", "HarmonyOS"))
_WEB_VIEWS = {"macOS": "Safari WebView", "iOS": "Safari WebView"}  # what ua-parser calls Apple Mail is any web view
_SYSTEMS = {"Mac OS X": "macOS", "Other": ""}
# ua-parser's name for agents of which it knows only the first letters. A real phone of that era lists its features.
_PHONE_BY_GUESS = "Generic Feature Phone"
_TEXT_BROWSER = re.compile(
    r"(?:(?:emacs-)?w3m|e?links|lynx|edbrowse|retawq|browsh|dillo|netsurf|url/emacs)(?![^ /(])", re.IGNORECASE
)
_SMALL_BROWSER = re.compile(r"^Mozilla/[^(]*\((?:compatible; )?(?:Dillo |U; ABrowse |IBrowse |NetPositive/)")
_BROWSERS_BEGIN = ("Mozilla/", "Opera/")
# Tools that name their system, as browsers do.
_TOOL = re.compile(
    r"\b(?:Windows)?PowerShell(?=/)|^(?:Debian APT-HTTP|Windows-Update-Agent|newsboat|newsbeuter|git|npm|pacman|libdnf"
    r"|ZYpp|Composer|kubectl|docker|conda|pip)\b|^[\w-]+(?=/.*\(internal dummy connection\)$)"
)
# The model of a phone, which is no name of the program.
_MODEL = re.compile(
    r"^((?:Mozilla|Dalvik)/[\d.]{3,8} \(Linux; (?:U; |arm(?:_64)?; )?Android [\d.]{1,8}; "
    r"(?:[a-z]{2}[-_][A-Za-z]{2}; )?)(?=[^;)]*[ \d])[\w .+-]{1,40}?"
    r"(?=\)| Build/|; wv\))"
)
_BY_A_TV = re.compile(r"(?<=HbbTV/)[\d.]{1,8} ?\([^()]{1,200}")  # its maker and model
_APP_ID = re.compile(r"(?<= )(?:com|ru|org|net|jp|cn|de|io)\.[a-z][\w.]{3,60}/[\d.]{1,20}(?= |$)")
_LIBRARY = re.compile(r"libwww-FM/[^ ]+|^URL/(?=Emacs )")  # the library that Lynx uses; bots use libwww-perl
# The application's name between the engine and Chromium; one that calls itself a bot counts as a bot.
_APPLICATION = re.compile(r"(?<=Gecko\) )(?:(?![^ ]*(?:bot|crawl|spider))[^ ]+ )+?(?=Chrome/)", re.IGNORECASE)
_PRODUCT = re.compile(r"[^\s/;()]+")
# What a program adds to a browser's agent: its operator's address, or its own name in one of these forms. The bounds
# keep an agent that is made for it from taking long.
_ADDED = re.compile(
    r"(?:Safari/[\d.]{1,16} \(|Gecko[);]{1,2} ?)compatible; ([\w.-]{1,40})|(?<![\w.])([\w.]{1,30}-User)\b"
    r"|\b(Google(?:Agent)?-[A-Z]\w{1,30}|NotebookLM|Checkly|[A-Z][A-Za-z]{1,30}Synthetics?)\b"
    r"|(?<![\w.-])([\w.-]{1,40})(?:/[\w.]{1,16})?;? ?\(?\+https?://"
    r"|Safari/[\d.]{1,16}; (\w{1,40})/|\((?:[\w .:-]{1,40}[;,:] ?)?[\w.+-]{1,40}@[\w-]{1,40}\.[a-z]"
)
# Without one of these, or ";" behind the engine, the pattern is not tried.
_ADDED_WORDS = ("compatible; ", "-User", "Google", "NotebookLM", "Checkly", "Synthetic", "+http", "@")
# Its operator's site in brackets behind the engine, the site or name in front of a whole agent, and a postal address.
_OPERATOR = re.compile(
    r"(?:Safari|Firefox)/[\d.]{1,20} (?:([\w.-]{1,40})(?:/[\w.]{1,16})? )?"
    r"\((?:[^()]{0,60}[ ;,/])?((?:[a-z][a-z0-9-]{0,40}\.){1,3}[a-z]{2,10})(?=[)/ ;,])"
    r"|(?:Safari|Firefox)/[\d.]{1,20} ((?:[a-z][a-z0-9-]{0,40}\.){1,3}[a-z]{2,10})$"
    r"|^(?:[^()]{1,40}\()?(?:https?://)?((?:[a-z0-9][a-z0-9-]{0,62}\.){1,4}[a-z]{2,10})(?:/[^ ()]{0,80})?\)? "
    r"(?:Mozilla/|\(Windows)"
)
# How apps are called: a domain from its end.
_REVERSED = re.compile(
    r"(?<![\w.@/-])(?:com|org|net|io|app|dev|eu|tv|ai|me|co|info|[a-z]{2})\.[A-Za-z][\w-]{0,60}(?:\.[\w-]{1,60}){0,6}"
    r"(?<!\.com)(?<!\.org)(?<!\.net)(?<!\.info)(?<!\.[a-z]{2})(?![\w.-])"
    r"|(?<![\w.@/-])(?:com|org|net)\.[A-Za-z][\w-]{0,60}(?:\.[\w-]{1,60}){0,6}(?![\w.-])"
)
_OF_MODEL = re.compile(r"\([^()]*(?=\))")  # first of a phone's brackets
_SAYS_WHERE = re.compile(r"http|(?<![^ (;,])\+")  # as programs of the web do in front of an address
_MAIL = re.compile(r"(?<![^ (;,])[\w.+-]{1,40}@(?:[\w-]{1,40}\.){1,4}[a-z]{2}")
# Names of programs that add them to a browser's agent, at the beginning of a word.
_PROGRAMS = (
    "selenium", "webdriver", "securityheaders", r"via\s[\w.\s-]{1,40}\sproxy\b", "thousandeyes", "dotcom-monitor",
    "cookiehub", r"impact\.com", "semantic-visions", "appinsights", "archivebox", "assetnote", "catchpoint",
    "collapsify", "convertify", "criticalcss", "cybaaagent", "daumoa", "dejaclick", "foregenix", "functionize",
    "googleadsenseinfeed", "hotjar", "inspici", "marketgoo", "modularconnector", "monitorss", "nyt_scraping",
    "siteliner", "ps_daily", "taginspector", "testlocally", "watchtowr", "yunjiankong", "agent-novaact", "detectify",
    "logicmonitor", "testcafe", "casperjs", "sitebulb", "hetrixtools", "freshping", "uptrends", "applitools", "pa11y",
    "speedcurve",
)  # fmt: skip
# Words of programs' names that applications and models of phones have, too: they count where no phone and no window is.
_WORDS = (
    r"\b(?:(?:cookie|port|web|site|page|link|url|ssl|malware|virus|security|vulnerability)[-_]?)?scan(?:ner|ning)?\b",
    r"(?:\b|_)scrap(?:er|ing)\b", r"http(?:client|agent)\b", r"diagnostics\b", r"networkmeasurement",
    r"prospect(?:or|ing)", r"\bsqwatcher\b", r"\bwatchagent\b", r"_monitoring\b", r"\bnewsai/", r"\bnewsnow/",
    r"\brigor\b", r"\bscope3\b", r"\bsindup\b", r"\bsparkler\b", r"\bcypress\b", r"synthetics\b",
    r"\b(?:url|link|page)[ -]?preview", r"[a-z]cookiescan\b",
)  # fmt: skip
_ATTACKS = ("(select ", "sleep(", "${jndi", "<script", "<?php", "../../")
_HEADLESS = re.compile(
    r"headless|phantomjs|slimerjs|puppeteer|playwright|\b(?:jsdom|happydom|htmlunit)/|splash version"
)
_LOOKS_AROUND = re.compile(r"\(\?<?[=!]")  # Rust's regular expressions have no look-around
_NOT_NAME = re.compile(r"[^a-z0-9.]+")
_VERSION = re.compile(r"/v?[0-9].*")
_IN_NAMES = frozenset(ascii_letters + digits + "_.-")
_IN_ADDRESS = re.compile(r"(?:://|@|mailto:)[^\s();,]*$")
# Words that say what a program is, and not which.
_GENERIC = re.compile(
    r"(?:ro)?bots?|crawl(?:er)?|spider|reader|fetch(?:er)?|search|feed|http|com|monitor", re.IGNORECASE
)
_OWN_NAME = re.compile(r"compatible; ([\w.-]+)|^(?!Mozilla\b)([A-Za-z][\w.-]*)")


class _Matchers:
    """ua-parser's rules and crawlerdetect's, compiled."""

    def __init__(self) -> None:
        browsers, systems, devices = load_lazy_builtins()
        # ua-parser's first group is a name, its second the version.
        named = [UserAgentMatcher(f"(){pattern}", family) for pattern, family in _OUR_BROWSERS.items()]
        versions = [OSMatcher(f"(){pattern}", family) for pattern, family in _OUR_SYSTEMS.items()]
        self.agents = Resolver(([*named, *browsers], [*versions, *systems], devices))
        self.exclusions = re.compile("|".join(exclusion_patterns), re.IGNORECASE)
        self.crawlers = ua_parser_rs.UserAgentExtractor(
            (f"(?i)({pattern})", "$1", None, None, None, None)
            for pattern in crawler_patterns
            if not _LOOKS_AROUND.search(pattern)
        )
        self.programs = _extractor(rf"\b(?:{pattern})" for pattern in _PROGRAMS)
        self.words = _extractor(_WORDS)
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


def _extractor(patterns: Iterable[str]) -> ua_parser_rs.UserAgentExtractor:
    """Of an agent, the part that the first of these fits, in any case."""
    return ua_parser_rs.UserAgentExtractor((f"(?i)({pattern})", "$1", None, None, None, None) for pattern in patterns)


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
    found = _matchers().agents(text, Domain.ALL)
    browser, browser_version, os, os_version = "", "", "", ""
    if found.os:
        os = _SYSTEMS.get(found.os.family, found.os.family)
        os_version = ".".join(filter(None, (found.os.major, found.os.minor)))
    if found.user_agent:
        browser, browser_version = _browser(found.user_agent.family, os), found.user_agent.major or ""
        if browser == "Electron" and (window := _ELECTRON.search(text)):
            browser, browser_version = window.groups()
    family = found.device.family if found.device else ""
    bot = _bot(text, browser if family == "Spider" else "") or _added(text)
    if bot and (by_a_device := _APP_ID.sub("", _BY_A_TV.sub("", _MODEL.sub(r"\1K", text)))) != text:
        return msgspec.structs.replace(_parse(by_a_device), device=device_of(text, os, room_of(text)))
    room = room_of(text)
    device = device_of(text, os, room)
    bot = bot or _program(text, browser, os, room or family) or _operated(text, device in _IN_HAND or os in _OF_APPS)
    return Agent(browser, browser_version, os, os_version, device, bot)


def _browser(family: str, os: str) -> str:
    if family == "Apple Mail":
        return _WEB_VIEWS.get(os, "WebKit")
    return _BROWSERS.get(family, family)


def _program(text: str, browser: str, os: str, device: str) -> str:
    """Return the name of the program on its own whose agent this is, though no list has it; "" for a person."""
    if _TEXT_BROWSER.match(text) or _SMALL_BROWSER.match(text):
        return ""
    if os or (device and device != _PHONE_BY_GUESS) or PHONE.search(text):
        tool = _TOOL.search(text)
        return _named(tool.group()) if tool else ""
    return "" if browser and text.startswith(_BROWSERS_BEGIN) else _named(_first_product(text))


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
    return _named(_own_name(text, known if spider in _OF_PEOPLE else spider))


def _own_name(text: str, known: str) -> str:
    """Return the name by which a bot calls itself. `known` is the part of its agent that a list knows: of its name, of
    its address, or a word that says what it is and not which."""
    at = text.find(known)
    if at < 0:
        return known
    behind = at + len(known)
    before = text[:at].removesuffix(_word(reversed(text[:at]))[::-1])
    name = _VERSION.sub("", text[len(before) : behind] + _word(text[behind:]))
    if not _GENERIC.fullmatch(name) and not _IN_ADDRESS.search(before):
        return name
    own = _OWN_NAME.search(text)
    return (own and (own[1] or own[2])) or _added(text) or name


def _word(text: Iterable[str]) -> str:
    """Return the letters of a name with which this begins."""
    return "".join(takewhile(_IN_NAMES.__contains__, text))


def _added(text: str) -> str:
    if not mentions(text, _ADDED_WORDS) and ";" not in text.rpartition("Safari/")[2]:
        return ""
    found = _ADDED.search(text)
    return _named(next(filter(None, found.groups()), "")) if found else ""


def _operated(text: str, in_hand: bool) -> str:
    """Return the name of the program that a browser's agent tells of in other words than those of `_added`.

    Phones have apps, which show pages in a view of their own and put their id, or their maker's site, where a program
    of the web puts its operator's: of a device `in_hand` it counts only beside an address or a "+".
    """
    program = _matchers().programs.extract(_OF_MODEL.sub("(", text, count=1) if in_hand else text)
    if program is None and not (in_hand or (" Electron/" in text and "Cypress/" not in text)):
        program = _matchers().words.extract(text)
    if program is not None:
        return _named(_own_name(text, str(program.family)))
    if (not in_hand or _SAYS_WHERE.search(text)) and (site := _OPERATOR.search(_REVERSED.sub("", text))):
        return _named(next(filter(None, site.groups())))
    if "@" in text and _MAIL.search(text):
        return "crawler"
    return "scanner" if mentions(text.lower(), _ATTACKS) else ""


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
