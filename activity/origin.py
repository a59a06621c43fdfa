"""Where a visitor came from: source, medium and channel of one page view.

What the address says about its campaign counts first (`utm_source`, `source`, `ref`), then an advertiser's
click id, then the referrer's host, unless that is the site itself: a click inside the site is no origin. The
channel is the first of a fixed list that fits, from `Cross-network` down to `Direct`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from activity import sources
from activity.address import host_of, without_www
from activity.sources import Kind

LONGEST = 256  # characters of each text that are kept


class Origin(msgspec.Struct, frozen=True, gc=False):
    """`source` is "" for a direct visit; `medium` is "" when nothing tells it."""

    source: str = ""
    medium: str = ""
    channel: str = "Direct"
    utm_source: str = ""
    utm_medium: str = ""
    utm_campaign: str = ""
    utm_term: str = ""
    utm_content: str = ""


DIRECT = Origin()

# Click ids that advertisers add: the source and medium they stand for when no utm_… says otherwise.
_CLICKS = {
    "gclid": ("google", "cpc"),
    "gbraid": ("google", "cpc"),
    "wbraid": ("google", "cpc"),
    "dclid": ("google", "display"),
    "msclkid": ("bing", "cpc"),
    "ttclid": ("tiktok", "paid-social"),
    "twclid": ("twitter", "paid-social"),
    "li_fat_id": ("linkedin", "paid-social"),
}
_TAGS = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")

_PAID = re.compile(r"cp|ppc|retargeting|paid")  # at the start, except for "cp", which may stand anywhere
_SHOP = re.compile(r"(^|[^a-df-z])shop|shopping")
_DISPLAY = frozenset(("display", "banner", "expandable", "interstitial", "cpm"))
_SOCIAL = frozenset(("social", "social-network", "social-media", "sm", "social network", "social media"))
_EMAIL = frozenset(("email", "e-mail", "e_mail", "e mail", "newsletter"))
_AFFILIATE = frozenset(("affiliate", "affiliates"))


def origin(parameters: Mapping[str, str], referrer_host: str) -> Origin:
    """The origin told by an address's decoded `parameters` and the referrer's host.

    `referrer_host` is lower case without port, and "" when there is no referrer or it is the site's own.
    """
    if not parameters:
        return _classify("", "", "", "", "", referrer_host, "") if referrer_host else DIRECT
    get = parameters.get
    click = next((name for name in _CLICKS if name in parameters), "")
    tags = [_tidy(get(name, "")) for name in _TAGS]
    tagged = tags[0] or _tidy(get("source") or get("ref") or "")
    if not (tagged or referrer_host or click or any(tags)):
        return DIRECT
    found = _classify(tagged, tags[1], tags[2], tags[3], tags[4], referrer_host, click)
    # `source` and `ref` are read as a source and are no utm_source.
    return found if tags[0] == found.utm_source else msgspec.structs.replace(found, utm_source=tags[0])


def referrer_host(referrer: str) -> str:
    """The host of a referrer that leads somewhere: of the web, or an Android app's name; "" for all else."""
    scheme, mark, rest = referrer.partition("://")
    if not mark or scheme.lower() not in ("http", "https", "android-app"):
        return ""
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    return host_of(authority.rpartition("@")[2])[:LONGEST]


@lru_cache(maxsize=2048)
def _classify(
    tagged: str, utm_medium: str, campaign: str, term: str, content: str, referrer: str, click: str
) -> Origin:
    source, medium = tagged or without_www(referrer), utm_medium.lower()
    if click:
        source = source or _CLICKS[click][0]
        medium = medium or _CLICKS[click][1]
    kind = kind_of(source)
    if not medium and not tagged and source:
        medium = "organic" if kind is Kind.SEARCH else "referral"
    return Origin(
        source, medium, _channel(source.lower(), medium, campaign.lower(), kind), tagged, utm_medium, campaign,
        term, content,
    )  # fmt: skip


@lru_cache(maxsize=2048)
def kind_of(source: str) -> Kind | None:
    """What a host, or a name that people give in `utm_source`, is known to be; None when it is not known."""
    name = source.lower().removeprefix("www.")
    if kind := sources.NAMES.get(name):
        return kind
    labels = name.split(".")
    for start in range(len(labels)):
        host = ".".join(labels[start:])
        if host in sources.PLAIN_HOSTS:
            return None
        if kind := sources.HOSTS.get(host):
            return kind
    # google.de, google.co.uk, amazon.com.br: the brand, then a country's domain of one or two short labels.
    for size in (1, 2):
        if len(labels) > size and all(len(label) <= 3 for label in labels[-size:]):
            if len(labels) > size + 1 and labels[0] != "m":
                continue
            if kind := sources.BRANDS.get(labels[-size - 1]):
                return kind
    return None


def _channel(source: str, medium: str, campaign: str, kind: Kind | None) -> str:
    paid = "cp" in medium or _PAID.match(medium) is not None
    shop = kind is Kind.SHOPPING or _SHOP.search(campaign) is not None
    rules = (
        ("Cross-network", "cross-network" in campaign),
        ("Paid Shopping", paid and shop),
        ("Paid Search", paid and kind is Kind.SEARCH),
        ("Paid Social", paid and kind is Kind.SOCIAL),
        ("Paid Video", paid and kind is Kind.VIDEO),
        ("Display", medium in _DISPLAY),
        ("Paid Other", paid),
        ("Organic Shopping", shop),
        ("Organic Social", kind is Kind.SOCIAL or medium in _SOCIAL),
        ("Organic Video", kind is Kind.VIDEO or "video" in medium),
        ("AI Assistants", kind is Kind.AI),
        ("Organic Search", kind is Kind.SEARCH or medium == "organic"),
        ("Email", kind is Kind.EMAIL or source in _EMAIL or medium in _EMAIL),
        ("Affiliates", medium in _AFFILIATE),
        ("Audio", medium == "audio"),
        ("SMS", source == "sms" or medium == "sms"),
        (
            "Mobile Push",
            medium.endswith("push") or "mobile" in medium or "notification" in medium or source == "firebase",
        ),
        ("Referral", bool(source or medium)),
    )
    return next((name for name, fits in rules if fits), "Direct")


def _tidy(text: str) -> str:
    text = text.strip()[:LONGEST]
    return text if text.isprintable() else "".join(char for char in text if char.isprintable())
