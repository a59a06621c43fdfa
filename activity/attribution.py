"""Where a visitor came from: source, medium and channel of one page view.

`origin` looks at the campaign parameters of the address first (`utm_source`, `source`, `ref`), then at an
advertiser's click id, then at the referrer's host. A referrer on the site itself does not count: a click inside
the site is not an origin. The channel is the first matching rule of a fixed list, from `Cross-network` down to
`Direct`.

What a source is called and what kind of site it is, `sources` knows. The tags are kept as they were written; the source
that they name is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from activity.encodings import decoded_again
from activity.sources import Kind, is_advertising, kind_of, name_of
from activity.url import as_browsers_write, host_of, in_letters

_LONGEST = 256  # characters kept of each text


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where one page view came from. `source` is "" for a direct visit; `medium` is "" when nothing names one."""

    source: str = ""
    medium: str = ""
    channel: str = "Direct"
    utm_source: str = ""
    utm_medium: str = ""
    utm_campaign: str = ""
    utm_term: str = ""
    utm_content: str = ""


DIRECT = Origin()

# Ids that networks add to links, mostly of advertisements, and the source and medium they imply when no utm_… parameter
# says otherwise.
_CLICKS = {
    "gclid": ("google", "cpc"),
    "gclsrc": ("google", "cpc"),
    "gad_source": ("google", "cpc"),
    "gad_campaignid": ("google", "cpc"),
    "gbraid": ("google", "cpc"),
    "wbraid": ("google", "cpc"),
    "dclid": ("google", "display"),
    "msclkid": ("bing", "cpc"),
    "ttclid": ("tiktok", "paid-social"),
    "twclid": ("twitter", "paid-social"),
    "li_fat_id": ("linkedin", "paid-social"),
    "rdt_cid": ("reddit", "paid-social"),
    "sccid": ("snapchat", "paid-social"),
    "epik": ("pinterest", "paid-social"),
    "qclid": ("quora", "paid-social"),
    "yclid": ("yandex", "cpc"),
    "ysclid": ("yandex", ""),  # these are in every link out of the network, an advertisement or not
    "srsltid": ("google", ""),
    "igshid": ("instagram", ""),
    "igsh": ("instagram", ""),
    "fbclid": ("facebook", ""),
    "tblci": ("taboola", "cpc"),
    "dicbo": ("outbrain", "cpc"),
    "ob_click_id": ("outbrain", "cpc"),
    "ndclid": ("nextdoor", "paid-social"),
    "vmcid": ("yahoo", "cpc"),
    "ef_id": ("adobe", "cpc"),
    "s_kwcid": ("adobe", "cpc"),
    "irclickid": ("impact", "affiliate"),
    "cjevent": ("cj", "affiliate"),
    "awc": ("awin", "affiliate"),
    "sscid": ("shareasale", "affiliate"),
    "ransiteid": ("linksynergy", "affiliate"),
    "mc_cid": ("mailchimp", "email"),
    "mc_eid": ("mailchimp", "email"),
    "elqtrackid": ("eloqua", "email"),
    "sfmc_id": ("salesforce", "email"),
    "dm_i": ("dotdigital", "email"),
    "vgo_ee": ("activecampaign", "email"),
    "_hsmi": ("hubspot", "email"),
    "_kx": ("klaviyo", "email"),
    "mkt_tok": ("marketo", "email"),
    "ck_subscriber_id": ("convertkit", "email"),
}
# Matomo's names of the same tags, which links that were made for it have.
_MATOMO = {
    f"{prefix}_{theirs}": f"utm_{ours}"
    for prefix in ("mtm", "matomo", "pk", "piwik")
    for theirs, ours in (
        ("source", "source"), ("medium", "medium"), ("campaign", "campaign"), ("cpn", "campaign"),
        ("keyword", "term"), ("kwd", "term"),
        ("content", "content"),
    )
}  # fmt: skip
_TAG_PREFIXES = ("utm_", "mtm_", "matomo_", "pk_", "piwik_")  # of the names of all tags
_SOURCES = ("source", "ref")  # other names that some give utm_source
# Those of which some programs make a list. What others list, such as `source[]`, is a filter's.
_LISTED = re.compile(r"((?:utm|mtm|matomo|pk|piwik)_[a-z_]+)\[0?\]")
_AS_USUAL = frozenset("abcdefghijklmnopqrstuvwxyz_0123456789-")  # what names of parameters consist of
# What programs write for no value, and placeholders that nobody has filled.
_UNSET = frozenset(
    ("null", "undefined", "none", "(none)", "not set", "(not set)", "not provided", "(not provided)", "(direct)",
     "(other)", "unknown", "false", "nan", "-", "n/a", "#n/a")
)  # fmt: skip
_PLACEHOLDER = re.compile(
    r"\{\{?[^{}]*\}?\}|\[[^\[\]]*\]|%{1,2}[^%]*%{1,2}|\$\{[^{}]*\}|__[a-z_]*__|\*\|[^|]*\|\*|<[^<>]*>"
)
_IS_PATH = re.compile(r"/(?!/)").match  # a page of the site, and no source
_TAGS = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
# In a value, encoded along with it.
_NEXT_TAG = re.compile(r"(?:[?&;,|/\s]|\\u0026)(?:amp;)?(?=utm_[a-z]+=)", re.IGNORECASE)

_UNPAID = re.compile(r"\b(?:non|not|un|no)-?paid\b|\borganic\b")  # of a medium, with "-" for gaps
_PAID = re.compile(r"cp|ppc|retargeting|paid")  # matched at the start; "cp" may stand anywhere
_SHOP = re.compile(r"(^|[^a-df-z])shop|shopping")
# Words of a medium: "paid_social", "email-marketing", "banner ad".
_ADS = frozenset(("ad", "ads", "adwords", "sem", "ppc", "paid", "socialpaid"))
_DISPLAY = frozenset(("display", "banner", "banners", "expandable", "interstitial"))
_SOCIAL = frozenset(("social", "socialmedia", "sm"))
_EMAIL = frozenset(("email", "emails", "emailing", "mailing", "newsletter", "newsletters"))
_AFFILIATE = frozenset(("affiliate", "affiliates", "affiliation"))
_AI = frozenset(("ai", "llm", "chatbot"))
_OTHERS = frozenset(("organic", "referral", "audio", "sms", "push", "video", "mobile", "notification"))
_KNOWN = _DISPLAY | _SOCIAL | _EMAIL | _AFFILIATE | _AI | _OTHERS
_MAIL = ("mail", "e-mail")
_GAPS = re.compile(r"[\s_]")
# Of sites that show a page under a host of theirs, in which "-" stands for "." and "--" for "-".
_COPIES = (".cdn.ampproject.org", ".translate.goog", ".bing-amp.com")
_OF_REFERRERS = frozenset(("http", "https", "android-app"))
_END = re.compile(r"[/?#\\\x00-\x1f]")  # of an authority
_COPY_BY_PATH = re.compile(r"cdn\.ampproject\.org/[a-z]/(?:s/)?([^/?#]+\.[^/?#]+)", re.IGNORECASE)


def origin(parameters: Mapping[str, str], referrer_host: str) -> Origin:
    """Returns the origin that an address's decoded `parameters` and the referrer's host point to.

    `referrer_host` is lower case without a port, and "" when there is no referrer or it is the site's own. Each text
    of the result has at most 256 characters. Never raises.
    """
    if not parameters:
        return _classify("", "", "", "", "", referrer_host, "") if referrer_host else DIRECT
    if not _AS_USUAL.issuperset("".join(parameters)):
        parameters = _usual(parameters)
    if not _MATOMO.keys().isdisjoint(parameters):
        theirs = {ours: parameters[name] for name, ours in reversed(_MATOMO.items()) if parameters.get(name)}
        parameters = theirs | {name: value for name, value in parameters.items() if value}
    get = parameters.get
    if "utm_" in "".join([get(name, "") for name in _TAGS]).lower():
        parameters = _taken_apart(parameters)
        get = parameters.get
    has_click = not _CLICKS.keys().isdisjoint(parameters)
    click = next((name for name in _CLICKS if get(name)), "") if has_click else ""
    tags = [_tidy(get(name, "")) for name in _TAGS]
    tagged = tags[0] if tags[0] and not is_unset(tags[0]) else ""
    for name in () if tagged else _SOURCES:
        if name in parameters and (text := _tidy(get(name, ""))) and not (is_unset(text) or _IS_PATH(text)):
            tagged = text
            break
    if not (tagged or referrer_host or click or any(tags)):
        return DIRECT
    found = _classify(tagged, tags[1], tags[2], tags[3], tags[4], referrer_host, click)
    # `source` and `ref` name a source, but they are not utm_source. That is kept as it was written, also where it says
    # nothing.
    return found if tags[0] == found.utm_source else msgspec.structs.replace(found, utm_source=tags[0])


def names_origin(name: str) -> bool:
    """Returns whether a parameter of this name says where a visitor came from: a campaign's tag, an id that a network
    adds to its links, `source` or `ref`. Never raises."""
    name = _usual_name(name)
    return name.startswith(_TAG_PREFIXES) or name in _CLICKS or name in _SOURCES


def _usual(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters by their usual names; of several with one name, the first."""
    usual: dict[str, str] = {}
    for name, value in parameters.items():
        usual.setdefault(_usual_name(name), value)
    return usual


def _usual_name(name: str) -> str:
    """A parameter's name in lower case, without what HTML puts before it and a list behind it."""
    name = name.strip().lower().removeprefix("amp;")
    return found[1] if (found := _LISTED.fullmatch(name)) else name


def _taken_apart(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters where the value of one tag may hold the next ones: "google&utm_medium=cpc"."""
    apart = dict(parameters)
    for name in _TAGS:
        apart[name], *others = _NEXT_TAG.split(apart.get(name, ""))
        for other in others:
            behind, _, value = other.partition("=")
            apart[behind.lower()] = apart.get(behind.lower()) or value
    return apart


def referrer_host(referrer: str) -> str:
    """Returns the host of a referrer: a web host in lower case without port, or the name of an Android app.

    Of a page that a cache or a translator shows it is the page's own host. At most 256 characters; "" for every other
    scheme and for a text without a host. Never raises.
    """
    scheme, mark, rest = referrer.partition("://")
    if not mark or scheme.lower() not in _OF_REFERRERS:
        scheme, mark, rest = as_browsers_write(referrer).partition("://")
        if not mark or scheme.lower() not in _OF_REFERRERS:
            return ""
    end = _END.search(rest)
    authority = rest[: end.start()] if end else rest
    if (copied := _COPY_BY_PATH.match(rest)) is not None:
        authority = copied[1]
    host = authority.rpartition("@")[2].partition(",")[0]  # a header that came twice is one with a comma
    return original_host(in_letters(host_of(host)[:_LONGEST]))


def original_host(host: str) -> str:
    """Returns the host whose page a cache or a translator shows under a host of its own, such as
    "www-example-com.translate.goog"; else the host itself."""
    for domain in _COPIES if host.endswith(_COPIES) else ():
        label = host.removesuffix(domain)
        if label != host and "." not in label:
            original = "-".join(part.replace("-", ".") for part in in_letters(label).split("--"))
            return original if "." in original.strip(".") and original == host_of(original.lstrip(".")) else host
    return host


def is_unset(tag: str) -> bool:
    """Returns whether a tag's decoded value is what programs write for none, or a placeholder that nobody filled."""
    tag = tag.strip().lower()
    return tag in _UNSET or _PLACEHOLDER.fullmatch(tag) is not None


@lru_cache(maxsize=2048)
def _classify(
    tagged: str, utm_medium: str, campaign: str, term: str, content: str, referrer: str, click: str
) -> Origin:
    source, medium = name_of(tagged or referrer), "" if is_unset(utm_medium) else utm_medium.lower()
    if click:
        source = source or name_of(_CLICKS[click][0])
        medium = medium or _CLICKS[click][1]
    kind = kind_of(source)
    advertised = bool(click) and _CLICKS[click][1] in ("cpc", "paid-social")
    advertised = advertised or (not medium and is_advertising(tagged))
    if not medium and not tagged and source:
        medium = "organic" if kind is Kind.SEARCH else "referral"
    return Origin(
        source, medium, _channel(source, medium, campaign.lower(), kind, advertised), tagged, utm_medium, campaign,
        term, content,
    )  # fmt: skip


def _channel(source: str, medium: str, campaign: str, kind: Kind | None, advertised: bool) -> str:
    """The first channel that fits. What is `advertised` is paid unless the medium says what else it is."""
    spelled = _GAPS.sub("-", medium)
    words = frozenset(spelled.replace("e-mail", "email").split("-"))
    if _UNPAID.search(spelled):
        words, advertised = words - _ADS, False
    paid = "cp" in medium or _PAID.match(medium) is not None
    display = medium == "cpm" or not (paid or _DISPLAY.isdisjoint(words))
    paid = paid or not (display or _ADS.isdisjoint(words)) or (advertised and _KNOWN.isdisjoint(words))
    shop = kind is Kind.SHOPPING or _SHOP.search(campaign) is not None
    rules = (
        ("Cross-network", "cross-network" in campaign),
        ("Paid Shopping", paid and shop),
        ("Paid Search", paid and kind is Kind.SEARCH),
        ("Paid Social", paid and kind is Kind.SOCIAL),
        ("Paid Video", paid and kind is Kind.VIDEO),
        ("Display", display),
        ("Paid Other", paid),
        ("Organic Shopping", shop),
        ("Organic Social", kind is Kind.SOCIAL or not _SOCIAL.isdisjoint(words)),
        ("Organic Video", kind is Kind.VIDEO or "video" in medium),
        ("AI Assistants", kind is Kind.AI),
        ("Organic Search", kind is Kind.SEARCH or medium == "organic"),
        ("Email", kind is Kind.EMAIL or source in _EMAIL or spelled in _MAIL or not _EMAIL.isdisjoint(words)),
        ("AI Assistants", not _AI.isdisjoint(words)),
        ("Affiliates", not _AFFILIATE.isdisjoint(words)),
        ("Audio", medium == "audio"),
        ("SMS", source == "sms" or "sms" in words),
        (
            "Mobile Push",
            medium.endswith("push") or "mobile" in medium or "notification" in medium or source == "firebase",
        ),
        ("Referral", bool(source or medium)),
    )
    return next((name for name, fits in rules if fits), "Direct")


def _tidy(text: str) -> str:
    text = (decoded_again(text) if "%" in text else text).strip()[:_LONGEST]
    return text if text.isprintable() else "".join(char for char in text if char.isprintable())
