"""Where a visitor came from: source, medium and channel of one page view.

`origin` looks at the campaign parameters of the address first (`utm_source`, `source`, `ref`), then at an
advertiser's click id, then at the referrer's host. A referrer on the site itself does not count: a click inside
the site is not an origin. The channel is the first matching rule of a fixed list, from `Cross-network` down to
`Direct`.

The tables below say which hosts and campaign sources are search engines, social networks, shops and so on. Hosts
are listed without `www.`; an entry covers its subdomains too, and the longest match wins, so `gemini.google.com`
is an assistant while `google.com` is a search engine. Brands with many country domains are listed by their label
alone. Raise `VERSION` with every change to the tables: it is stored with each event, so that a number can be
traced to the list it came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

import msgspec

from activity.url import host_of, without_www

VERSION = "1"


class Kind(StrEnum):
    """What sort of site a source is, which the channel depends on."""

    SEARCH = "search"
    SOCIAL = "social"
    VIDEO = "video"
    SHOPPING = "shopping"
    AI = "ai"
    EMAIL = "email"


_HOSTS: dict[Kind, str] = {
    Kind.SEARCH: """
        bing.com duckduckgo.com html.duckduckgo.com ecosia.org qwant.com startpage.com search.brave.com kagi.com
        search.yahoo.com search.yahoo.co.jp yahoo.com yahoo.co.jp baidu.com m.baidu.com sogou.com so.com
        haosou.com sm.cn naver.com search.naver.com daum.net search.daum.net seznam.cz search.seznam.cz
        ask.com aol.com search.aol.com dogpile.com metager.org metager.de mojeek.com swisscows.com
        presearch.com presearch.org lilo.org rambler.ru nova.rambler.ru go.mail.ru ya.ru yep.com gibiru.com
        lycos.com excite.com info.com search.com webcrawler.com onet.pl wp.pl szukaj.onet.pl virgilio.it
        biglobe.ne.jp goo.ne.jp coccoc.com petalsearch.com searx.be searxng.org marginalia-search.com
        cn.bing.com search.lycos.com millionshort.com yippy.com com.google.android.googlequicksearchbox
    """,
    Kind.SOCIAL: """
        facebook.com l.facebook.com lm.facebook.com m.facebook.com fb.com fb.me messenger.com instagram.com
        l.instagram.com threads.net threads.com twitter.com x.com t.co linkedin.com lnkd.in reddit.com
        old.reddit.com out.reddit.com redd.it pinterest.com pin.it tumblr.com vk.com away.vk.com ok.ru
        mastodon.social mastodon.online fosstodon.org hachyderm.io bsky.app go.bsky.app
        news.ycombinator.com lobste.rs quora.com medium.com snapchat.com
        telegram.org t.me web.telegram.org whatsapp.com web.whatsapp.com wa.me discord.com
        discordapp.com weibo.com weibo.cn wechat.com douban.com zhihu.com xing.com nextdoor.com
        stackoverflow.com stackexchange.com meetup.com disqus.com livejournal.com slashdot.org
        digg.com mix.com flipboard.com getpocket.com line.me viadeo.com lemmy.world lemmy.ml kakao.com
        com.linkedin.android com.reddit.frontpage org.telegram.messenger com.twitter.android
        com.facebook.katana com.slack slack.com app.slack.com teams.microsoft.com producthunt.com
    """,
    Kind.VIDEO: """
        youtube.com m.youtube.com youtu.be vimeo.com dailymotion.com twitch.tv tiktok.com bilibili.com
        rumble.com odysee.com youku.com iqiyi.com v.qq.com nicovideo.jp netflix.com hulu.com disneyplus.com
        wistia.com peertube.tv crunchyroll.com com.google.android.youtube
    """,
    Kind.SHOPPING: """
        shopping.google.com shopping.yahoo.com shopping.yahoo.co.jp etsy.com aliexpress.com alibaba.com
        taobao.com tmall.com jd.com walmart.com target.com bestbuy.com rakuten.com rakuten.co.jp
        shopzilla.com pricegrabber.com idealo.de idealo.co.uk kelkoo.com mercadolibre.com mercadolivre.com.br
        flipkart.com shopify.com shop.app temu.com shein.com zalando.com zalando.de otto.de wish.com
        allegro.pl ozon.ru wildberries.ru geizhals.de geizhals.at pricerunner.com ceneo.pl
    """,
    Kind.AI: """
        chatgpt.com chat.openai.com openai.com perplexity.ai claude.ai gemini.google.com bard.google.com
        copilot.microsoft.com copilot.com copilot.cloud.microsoft chat.deepseek.com deepseek.com
        chat.mistral.ai mistral.ai grok.com x.ai poe.com you.com phind.com meta.ai pi.ai character.ai
        huggingface.co kimi.com kimi.moonshot.cn chat.qwen.ai doubao.com notebooklm.google.com
        edgeservices.bing.com iask.ai andisearch.com felo.ai genspark.ai manus.im duck.ai
    """,
    Kind.EMAIL: """
        mail.google.com com.google.android.gm outlook.live.com outlook.office.com outlook.office365.com
        mail.yahoo.com mail.proton.me mail.protonmail.com e.mail.ru mail.ru mail.aol.com webmail.free.fr
        app.fastmail.com mail.zoho.com mail.yandex.ru mail.yandex.com deref-gmx.net deref-web.de
        mail.qq.com mail.163.com mailchi.mp icloud.com tutanota.com app.tuta.com hey.com app.hey.com
    """,
}
HOSTS: dict[str, Kind] = {host: kind for kind, hosts in _HOSTS.items() for host in hosts.split()}

# Matches <label>.<country domain> (google.de, google.co.uk, amazon.fr), but no subdomain of it except `m.`.
BRANDS: dict[str, Kind] = {
    "google": Kind.SEARCH,
    "yandex": Kind.SEARCH,
    "amazon": Kind.SHOPPING,
    "ebay": Kind.SHOPPING,
    "pinterest": Kind.SOCIAL,
}
# Hosts of these brands that are neither a search engine nor a shop: they count as plain referrals.
_PLAIN_HOSTS = (
    "docs.google.com drive.google.com sites.google.com groups.google.com news.google.com classroom.google.com "
    "accounts.google.com calendar.google.com meet.google.com play.google.com translate.google.com "
    "maps.google.com developers.google.com cloud.google.com support.google.com keep.google.com "
    "aws.amazon.com console.aws.amazon.com colab.research.google.com support.microsoft.com "
    "finance.yahoo.com news.yahoo.com sports.yahoo.com news.yahoo.co.jp blog.naver.com cafe.naver.com "
    "tieba.baidu.com baike.baidu.com zhidao.baidu.com pan.baidu.com webmaster.yandex.ru disk.yandex.ru"
)
PLAIN_HOSTS: frozenset[str] = frozenset(_PLAIN_HOSTS.split())

# What people write into `utm_source`, besides the hosts above.
_NAMES: dict[Kind, str] = {
    Kind.SEARCH: "google bing duckduckgo ddg yahoo baidu yandex ecosia qwant startpage brave kagi naver seznam "
    "ask aol sogou adwords google-ads googleads google_ads bingads bing-ads",
    Kind.SOCIAL: "facebook fb instagram ig facebook-ads facebook_ads fbads meta twitter x linkedin reddit "
    "pinterest tumblr snapchat threads mastodon bluesky bsky hackernews hn whatsapp telegram "
    "discord slack vk weibo wechat quora medium nextdoor xing producthunt social lemmy",
    Kind.VIDEO: "youtube yt vimeo tiktok twitch dailymotion bilibili netflix rumble",
    Kind.SHOPPING: "amazon ebay etsy walmart aliexpress google-shopping google_shopping shopify shopping "
    "idealo shop.app igshopping rakuten",
    Kind.AI: "chatgpt openai perplexity claude gemini copilot deepseek mistral grok poe you.com phind meta-ai",
    Kind.EMAIL: "email e-mail e_mail newsletter mailchimp mailerlite substack gmail outlook klaviyo sendgrid "
    "convertkit buttondown brevo",
}
NAMES: dict[str, Kind] = {name: kind for kind, names in _NAMES.items() for name in names.split()}


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

# Click ids that advertisers add, and the source and medium they imply when no utm_… parameter says otherwise.
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

_PAID = re.compile(r"cp|ppc|retargeting|paid")  # matched at the start; "cp" may stand anywhere
_SHOP = re.compile(r"(^|[^a-df-z])shop|shopping")
_DISPLAY = frozenset(("display", "banner", "expandable", "interstitial", "cpm"))
_SOCIAL = frozenset(("social", "social-network", "social-media", "sm", "social network", "social media"))
_EMAIL = frozenset(("email", "e-mail", "e_mail", "e mail", "newsletter"))
_AFFILIATE = frozenset(("affiliate", "affiliates"))


def origin(parameters: Mapping[str, str], referrer_host: str) -> Origin:
    """Returns the origin that an address's decoded `parameters` and the referrer's host point to.

    `referrer_host` is lower case without a port, and "" when there is no referrer or it is the site's own. Each text
    of the result has at most 256 characters. Never raises.
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
    # `source` and `ref` name a source, but they are not utm_source.
    return found if tags[0] == found.utm_source else msgspec.structs.replace(found, utm_source=tags[0])


def referrer_host(referrer: str) -> str:
    """Returns the host of a referrer: a web host in lower case without port, or the name of an Android app.

    At most 256 characters; "" for every other scheme and for a text without a host. Never raises.
    """
    scheme, mark, rest = referrer.partition("://")
    if not mark or scheme.lower() not in ("http", "https", "android-app"):
        return ""
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    return host_of(authority.rpartition("@")[2])[:_LONGEST]


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
    """Returns the kind of a host, or of a name that people write into `utm_source`; None if no table has it."""
    name = source.lower().removeprefix("www.")
    if kind := NAMES.get(name):
        return kind
    labels = name.split(".")
    for start in range(len(labels)):
        host = ".".join(labels[start:])
        if host in PLAIN_HOSTS:
            return None
        if kind := HOSTS.get(host):
            return kind
    # google.de, google.co.uk, amazon.com.br: the brand, then a country domain of one or two short labels.
    for size in (1, 2):
        if len(labels) > size and all(len(label) <= 3 for label in labels[-size:]):
            if len(labels) > size + 1 and labels[0] != "m":
                continue
            if kind := BRANDS.get(labels[-size - 1]):
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
    text = text.strip()[:_LONGEST]
    return text if text.isprintable() else "".join(char for char in text if char.isprintable())
