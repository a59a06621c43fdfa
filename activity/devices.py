"""What kind of device an agent is of: console, tv, tablet, mobile or desktop.

A television or a console says so itself (`room_of`); what the others are follows from the system and the model.
"""

from __future__ import annotations

import re

_HARMONY = {"PC": "desktop", "Tablet": "tablet", "2in1": "desktop"}  # what HarmonyOS calls its devices
_DESKTOPS = frozenset(
    (
        "Windows", "macOS", "Linux", "Chrome OS", "Ubuntu", "Debian", "Fedora", "Mint", "Red Hat", "SUSE",
        "CentOS", "Gentoo", "Arch Linux", "Slackware", "Mandriva", "FreeBSD", "OpenBSD", "NetBSD", "Solaris",
    )
)  # fmt: skip
_PHONES = frozenset(("Windows Phone", "Windows Mobile", "BlackBerry OS", "KaiOS", "Firefox OS", "Symbian OS", "webOS"))
# Searched for in lower case: ignoring case takes the engine many times as long.
_TV = re.compile(
    r"smart-?tv|\b(?:apple|google|hbb|net|hisense|philips|mi|fire)[-_ ]?tv|\btv\b|crkey|chromecast|roku|bravia"
    r"|\baft[a-z]|vidaa|netcast|web0s|\bviera\b|\bmibox"
)
# Without one of these the pattern is not tried.
_TV_WORDS = ("tv", "crkey", "chromecast", "roku", "bravia", "aft", "vidaa", "netcast", "web0s", "viera", "mibox")
# Programs of receivers and televisions, and makers of these.
_RECEIVERS = (
    "iptv", "_tv_", "kreatv", "tvbrowser", "sonydtv", "-dtv/", "hybridcast", "ce-html", "youview", "dunehd",
    "brightsign", " omi/", "stbapp", "netrange", "infinet", "vizio", "(arris", "(humax", "sagemcom",
    "linux mips", "smarttv",
)  # fmt: skip
# Models with Android: a box, a screen by its size, and the makers of both.
_ANDROID_TV = re.compile(
    r"android[ \d.]{1,12}; (?:u; )?(?:[a-z]{2}-[a-z]{2}; )?(?:[^;)]{0,30}"
    r"(?:(?<!x)box\b|\bshell[ _]\w|[-_ ][a-z]{0,3}led[-_ ]?\d\d|[-_][uf]hd\b(?!.*\bmobile\b)|\duhd\b)"
    r"|[a-z]{0,3}led[-_ ]?\d\d|(?:2[248]|32|39|4[0-39]|5[058]|65|75)[a-z]{1,6}[-_]?\d{2,4}|tdtv"
    r"|x96(?!.*\byasearchbrowser/)|x88 ?(?:pro|mini)"
    r"|h96[ _-]?(?:max|pro|mini)|hk1[ )]|mxq|mk80\d|beelink|mygica|tx\d ?(?:mini|max)|t95[a-z])"
)
_CONSOLE = re.compile(r"playstation|xbox|nintendo|steamdeck|\(ps[2-5]\)|\bouya\b")
_TABLET = re.compile(
    r"ipad|tablet(?! pc)|kindle|\bsilk\b|playbook|kf[a-z]{3,4}\b|galaxy tab|\bkobo\b|\btolino\b|\bnook\b|\bpocketbook"
    r"|\b(?:media|mate|idea|clever|oneplus |xiaomi |redmi |honor |oppo )pad\b"
    r"|\bsm-[tpx]\d{3}|\blenovo tb|; tb-?[\dxj]\w{3,}|\bgt-(?:p\d|n[58])\d{3}|\btransformer\b"
)
_ANDROID_TABLET = re.compile(r"(?<!voice)[-_ ;]tab\b|[-_ ;]tab[-_ ]?\d")  # a "Voice Tab" is a phone
# Computers whose browser is that of Android.
_LAPTOP = re.compile(
    r"chromebook|; (?:aspire|inspiron|vostro|latitude|satellite|thinkpad(?! tab)|(?:hp )?(?:elite|pro)book)\b"
)
# What a phone lists of its features; those of the makers that list none.
PHONE = re.compile(r"midp|cldc|j2me|\bwap\b|mobi|browser|^(?:docomo|kddi|j-phone|softbank|vodafone)\b", re.IGNORECASE)
_TABLET_WORDS = (
    "ipad", "tab", "kindle", "silk", "playbook", "kf", "kobo", "tolino", "nook", "pocketbook", "pad", "sm-", "tb",
    "gt-", "transformer",
)  # fmt: skip


def device_of(text: str, os: str, room: str) -> str:
    """Return "console", "tv", "tablet", "mobile" or "desktop", "" if unknown. `os` is the system that the agent names,
    `room` what `room_of` makes of it."""
    lower = text.lower()
    if room:
        return room
    if os == "tvOS" or (os == "Android" and _ANDROID_TV.search(lower)):
        return "tv"
    if os == "Android" and _LAPTOP.search(lower):
        return "desktop"
    if mentions(lower, _TABLET_WORDS) and (
        _TABLET.search(lower) or (os == "Android" and _ANDROID_TABLET.search(lower))
    ):
        return "tablet"
    if os == "Android":
        return "tablet" if text.startswith("Mozilla/") and "Mobile" not in text else "mobile"
    if os == "iOS" or os in _PHONES:
        return "mobile"
    if "IEMobile" in text or ("Mobi" in text and os in ("", "Linux", "Ubuntu", "HarmonyOS")):
        return "mobile"
    if os in _DESKTOPS:
        return "desktop"
    if os == "HarmonyOS":
        return _HARMONY.get(text.partition("(")[2].partition(";")[0], "mobile")
    return "mobile" if PHONE.search(text) else ""


def room_of(text: str) -> str:
    """Return "console" or "tv", if an agent is of one by words of its own, else ""."""
    lower = text.lower()
    if _CONSOLE.search(lower):
        return "console"
    return "tv" if (mentions(lower, _TV_WORDS) and _TV.search(lower)) or mentions(lower, _RECEIVERS) else ""


def mentions(text: str, words: tuple[str, ...]) -> bool:
    """Whether a text has one of these words in it."""
    return any(word in text for word in words)
