"""Where visitors come from: what a source is called, and what kind of site it is.

One network has many hosts: for desktops and phones, for its redirects, for countries; its app sends the name of a
package; and people tag links `fb`, `Facebook` or `facebook_ads`. `name_of` calls all of them by the network's main
host, so that they are one row. It calls any other host by its name without `www.`, `m.` and the like, and any other
tag by its text in lower case. `kind_of` says whether a source is a search engine, a social network, a shop and so on.

The lists are ours, gathered from the products' public documentation. Raise `VERSION` with every change to them: it is
stored with each event, so that a number can be traced to the lists it came from. What is stored keeps its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache

from activity.url import host_of, in_letters

VERSION = "7"


class Kind(StrEnum):
    """What sort of site a source is, which the channel depends on."""

    SEARCH = "search"
    SOCIAL = "social"
    VIDEO = "video"
    SHOPPING = "shopping"
    AI = "ai"
    EMAIL = "email"


# Hosts by kind. An entry covers its subdomains, too, and the longest match wins.
_HOSTS: dict[Kind, str] = {
    Kind.SEARCH: """
        bing.com duckduckgo.com ecosia.org qwant.com startpage.com search.brave.com kagi.com yahoo.com
        yahoo.co.jp baidu.com sogou.com so.com sm.cn naver.com daum.net seznam.cz ask.com aol.com dogpile.com
        metager.org metager.de mojeek.com swisscows.com presearch.com presearch.org lilo.org rambler.ru
        nova.rambler.ru go.mail.ru yep.com gibiru.com lycos.com excite.com info.com search.com webcrawler.com
        onet.pl wp.pl szukaj.onet.pl virgilio.it biglobe.ne.jp goo.ne.jp coccoc.com petalsearch.com searx.be
        searxng.org marginalia-search.com search.lycos.com millionshort.com yippy.com suche.web.de
        suche.t-online.de suche.gmx.net suche.gmx.at suche.gmx.ch suche.freenet.de suche.1und1.de search.ch
        search.bluewin.ch search.bt.com search.xfinity.com search.avast.com search.avira.com search.avira.net
        safesearch.avira.com search.f-secure.com search.disconnect.me searchlock.com search.myway.com
        mywebsearch.com alohafind.com oceanhero.today search.zum.com search.sapo.pt leta.mullvad.net
        ghosterysearch.com karmasearch.org privacywall.org zapmeta.com msn.com centrum.cz
        startsiden.no kvasir.no search.ukr.net search.auone.jp search.smt.docomo.ne.jp websearch.rakuten.co.jp
        search.nate.com so.toutiao.com wiby.me stract.com search.walla.co.il search.avg.com isearch.avg.com voila.fr
        lemoteur.orange.fr entireweb.com exalead.com altavista.com pesquisa.sapo.pt search.free.fr najdi.si fireball.de
        searchencrypt.com wolframalpha.com search.comcast.net laban.vn
    """,
    Kind.SOCIAL: """
        facebook.com messenger.com instagram.com threads.com x.com linkedin.com reddit.com pinterest.com
        tumblr.com vk.com ok.ru mastodon.social mastodon.online fosstodon.org hachyderm.io bsky.app
        news.ycombinator.com lobste.rs quora.com medium.com snapchat.com telegram.org whatsapp.com discord.com
        weibo.com wechat.com douban.com zhihu.com xing.com nextdoor.com stackoverflow.com stackexchange.com
        meetup.com disqus.com livejournal.com slashdot.org digg.com mix.com flipboard.com getpocket.com line.me
        viadeo.com lemmy.world lemmy.ml kakao.com slack.com teams.microsoft.com producthunt.com mstdn.social
        mstdn.jp mas.to chaos.social techhub.social infosec.exchange troet.cafe workplace.com superuser.com
        serverfault.com askubuntu.com mathoverflow.net xiaohongshu.com truthsocial.com gab.com mixi.jp plurk.com
        b.hatena.ne.jp zalo.me web.skype.com yammer.com smartnews.com yelp.com tripadvisor.com trustpilot.com
        goodreads.com flickr.com deviantart.com pixiv.net indiehackers.com viber.com signal.org steamcommunity.com
        myspace.com last.fm qzone.qq.com my.mail.ru v2ex.com warpcast.com farcaster.xyz gettr.com minds.com behance.net
        dribbble.com 500px.com vsco.co badoo.com renren.com foursquare.com taringa.net skyrock.com hi5.com clubhouse.com
    """,
    Kind.VIDEO: """
        youtube.com vimeo.com dailymotion.com twitch.tv tiktok.com bilibili.com rumble.com odysee.com youku.com
        iqiyi.com v.qq.com nicovideo.jp netflix.com hulu.com disneyplus.com wistia.com peertube.tv
        crunchyroll.com douyin.com
    """,
    Kind.SHOPPING: """
        shopping.google.com shopping.yahoo.com shopping.yahoo.co.jp etsy.com aliexpress.com alibaba.com
        taobao.com tmall.com jd.com walmart.com target.com bestbuy.com rakuten.com rakuten.co.jp shopzilla.com
        pricegrabber.com idealo.de kelkoo.com mercadolibre.com mercadolivre.com.br flipkart.com shopify.com
        shop.app temu.com shein.com zalando.com otto.de wish.com allegro.pl ozon.ru wildberries.ru geizhals.de
        geizhals.at pricerunner.com pricerunner.co.uk ceneo.pl shopee.com lazada.com coupang.com tokopedia.com
        newegg.com wayfair.com bol.com cdiscount.com trendyol.com hepsiburada.com emag.ro vinted.com poshmark.com
    """,
    Kind.AI: """
        chatgpt.com openai.com perplexity.ai claude.ai gemini.google.com copilot.microsoft.com deepseek.com
        mistral.ai grok.com poe.com you.com phind.com meta.ai pi.ai character.ai huggingface.co kimi.com
        chat.qwen.ai doubao.com notebooklm.google.com iask.ai andisearch.com felo.ai genspark.ai manus.im
        duck.ai lmarena.ai t3.chat openrouter.ai blackbox.ai chat.z.ai lumo.proton.me yiyan.baidu.com
        yuanbao.tencent.com metaso.cn aistudio.google.com chatglm.cn jasper.ai tongyi.com qianwen.com liner.com komo.ai
    """,
    Kind.EMAIL: """
        mail.google.com outlook.live.com mail.yahoo.com mail.proton.me mail.ru mail.aol.com webmail.free.fr
        app.fastmail.com mail.zoho.com mail.yandex.ru mail.yandex.com deref-gmx.net deref-web.de mail.qq.com
        mail.163.com mailchi.mp icloud.com tutanota.com app.tuta.com hey.com app.hey.com
        deref-mail.com campaign-archive.com list-manage.com substack.com urldefense.com mimecast.com
        secure-web.cisco.com linkprotect.cudasvc.com clicktime.symantec.com url.avanan.click mail.superhuman.com
    """,
}
HOSTS: dict[str, Kind] = {host: kind for kind, hosts in _HOSTS.items() for host in hosts.split()}

# Matches <label>.<country domain> (google.de, google.co.uk, amazon.fr) and of the subdomains those in `_BRAND_PARTS`.
_BRANDS: dict[str, tuple[Kind, str]] = {
    "google": (Kind.SEARCH, "google.com"),
    "yandex": (Kind.SEARCH, "yandex.ru"),
    "amazon": (Kind.SHOPPING, "amazon.com"),
    "ebay": (Kind.SHOPPING, "ebay.com"),
    "pinterest": (Kind.SOCIAL, "pinterest.com"),
    "aol": (Kind.SEARCH, "aol.com"),
    "ixquick": (Kind.SEARCH, "startpage.com"),
    "zalando": (Kind.SHOPPING, "zalando.com"),
    "aliexpress": (Kind.SHOPPING, "aliexpress.com"),
    "idealo": (Kind.SHOPPING, "idealo.de"),
    "mercadolibre": (Kind.SHOPPING, "mercadolibre.com"),
    "shopee": (Kind.SHOPPING, "shopee.com"),
    "lazada": (Kind.SHOPPING, "lazada.com"),
}
_BRAND_PARTS = frozenset(
    ("m", "images", "ipv4", "ipv6", "encrypted", "lens", "cse", "smile", "rover", "cgi", "search", "yabs")
)
# Hosts of these brands that are neither a search engine nor a shop: they count as plain referrals.
_PLAIN_HOSTS = (
    "docs.google.com drive.google.com sites.google.com groups.google.com news.google.com classroom.google.com "
    "accounts.google.com calendar.google.com meet.google.com play.google.com translate.google.com "
    "maps.google.com developers.google.com cloud.google.com support.google.com keep.google.com "
    "aws.amazon.com console.aws.amazon.com colab.research.google.com support.microsoft.com "
    "finance.yahoo.com news.yahoo.com sports.yahoo.com news.yahoo.co.jp blog.naver.com cafe.naver.com "
    "tieba.baidu.com baike.baidu.com zhidao.baidu.com pan.baidu.com webmaster.yandex.ru disk.yandex.ru "
    "news.mail.ru otvet.mail.ru cloud.mail.ru pulse.mail.ru"
)
PLAIN_HOSTS: frozenset[str] = frozenset(_PLAIN_HOSTS.split())

# What people write into `utm_source`, besides the hosts above and the networks below; "-" stands for "_" and " ", too.
_TAGS: dict[Kind, str] = {
    Kind.SOCIAL: "meta mastodon social lemmy an",  # Meta calls its audience network so
    Kind.SHOPPING: "google-shopping shopping shop.app igshopping",
    Kind.AI: "you.com",
    Kind.EMAIL: "email e-mail newsletter mailchimp mailerlite substack klaviyo sendgrid convertkit buttondown brevo "
    "sendinblue mailjet activecampaign constant-contact constantcontact beehiiv getresponse hs-automation",
}
TAGS: dict[str, Kind] = {tag: kind for kind, tags in _TAGS.items() for tag in tags.split()}

# What one network is called, and the hosts, apps and tags that are it. A host here covers its subdomains, too, but for
# those listed above under a name of their own.
_NETWORKS: dict[str, str] = {
    # search engines
    "google.com": "google adwords gads com.google.android.googlequicksearchbox com.google.android.apps.searchlite "
    "syndicatedsearch.goog share.google search.app webcache.googleusercontent.com gmb google-my-business "
    "google-business-profile",
    "bing.com": "bing microsoft com.microsoft.bing com.microsoft.binglite",
    "duckduckgo.com": "duckduckgo ddg duck.com com.duckduckgo.mobile.android "
    "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion",
    "yahoo.com": "yahoo com.yahoo.mobile.client.android.search com.yahoo.mobile.client.android.yahoo",
    "yahoo.co.jp": "jp.co.yahoo.android.yjtop",
    "yandex.ru": "yandex yandex.direct ya.ru ru.yandex.searchplugin com.yandex.searchapp",
    "baidu.com": "baidu com.baidu.searchbox",
    "ecosia.org": "ecosia com.ecosia.android",
    "qwant.com": "qwant qwantjunior.com com.qwant.liberty",
    "startpage.com": "startpage ixquick.com",
    "search.brave.com": "brave",
    "kagi.com": "kagi com.kagi.search",
    "naver.com": "naver naver.me com.nhn.android.search",
    "daum.net": "daum net.daum.android.daum",
    "seznam.cz": "seznam cz.seznam.sbrowser",
    "msn.com": "msn ntp.msn.com",
    "ask.com": "ask search-results.com",
    "aol.com": "aol aolsearch.com",
    "sogou.com": "sogou",
    "so.com": "haosou.com so.360.cn",
    "marginalia-search.com": "marginalia marginalia.nu",
    # social networks
    "facebook.com": "facebook fb fcb fbad face-book fb.com fb.me fb.watch com.facebook.katana com.facebook.lite "
    "com.facebook.mlite facebookwkhpilnemxj7asaniu7vnjjbiltxjqhye3mhbshg7kx5tfyd.onion",
    "messenger.com": "messenger msg fb-messenger facebook-messenger m.me com.facebook.orca",
    "workplace.com": "workplace l.workplace.com",
    "instagram.com": "instagram ig insta instagr.am ig.me com.instagram.android com.instagram.lite",
    "threads.com": "threads threads.net com.instagram.barcelona",
    "x.com": "x twitter twitter.com t.co twitter-x x-twitter com.twitter.android com.twitter.android.lite",
    "linkedin.com": "linkedin linked-in linkedin.cn lnkd.in com.linkedin.android com.linkedin.android.lite",
    "reddit.com": "reddit redd.it reddit.app.link com.reddit.frontpage com.laurencedawson.reddit_sync "
    "com.andrewshu.android.reddit com.rubenmayayo.reddit me.ccrama.redditslide ml.docilealligator.infinityforreddit",
    "pinterest.com": "pinterest pin.it com.pinterest",
    "tumblr.com": "tumblr t.umblr.com tmblr.co href.li com.tumblr",
    "medium.com": "medium link.medium.com com.medium.reader",
    "quora.com": "quora qr.ae com.quora.android",
    "vk.com": "vk vkontakte vk.ru vk.cc vk.me vkontakte.ru com.vkontakte.android",
    "ok.ru": "odnoklassniki odnoklassniki.ru ru.ok.android",
    "bsky.app": "bluesky bsky bsky.social xyz.blueskyweb.app",
    "snapchat.com": "snapchat com.snapchat.android",
    "telegram.org": "telegram tg t.me telegram.me org.telegram.messenger org.telegram.plus org.thunderdog.challegram",
    "whatsapp.com": "whatsapp whats-app wa wa.me l.wl.co com.whatsapp",
    "discord.com": "discord discordapp.com discord.gg com.discord",
    "slack.com": "slack slack-redir.net com.slack com.tinyspeck.chatlyio",
    "teams.microsoft.com": "ms-teams teams.live.com teams.cloud.microsoft statics.teams.cdn.office.net "
    "com.microsoft.teams",
    "weibo.com": "weibo weibo.cn t.cn com.sina.weibo",
    "wechat.com": "wechat weixin weixin.qq.com com.tencent.mm",
    "zhihu.com": "zhihu com.zhihu.android",
    "viber.com": "viber com.viber.voip",
    "signal.org": "signal signal.me signal.group org.thoughtcrime.securesms",
    "flickr.com": "flickr flic.kr com.flickr.android",
    "disqus.com": "disqus disq.us",
    "line.me": "line jp.naver.line.android",
    "kakao.com": "kakao kakaotalk com.kakao.talk",
    "nextdoor.com": "nextdoor com.nextdoor",
    "xing.com": "xing com.xing.android",
    "news.ycombinator.com": "hn hackernews hacker-news ycombinator hckrnews.com hn.algolia.com hackerweb.app "
    "hn.premii.com quiethn.com io.github.hidroh.materialistic com.stefandekanski.hackernews.free",
    "xiaohongshu.com": "xiaohongshu rednote rednote.com xhslink.com com.xingin.xhs",
    "smartnews.com": "smartnews jp.gocro.smartnews.android",
    "truthsocial.com": "truthsocial truth-social com.truthsocial.android.app",
    "producthunt.com": "producthunt product-hunt com.producthunt.android",
    "flipboard.com": "flipboard flip.it flipboard.app",
    "getpocket.com": "pocket pocket.co pocket-mylist pocket-saves pocket-hits pocket-newtab "
    "com.ideashower.readitlater.pro",
    # video
    "youtube.com": "youtube yt you-tube youtu.be youtube-nocookie.com com.google.android.youtube "
    "com.google.android.apps.youtube",
    "tiktok.com": "tiktok tik-tok tik.tok tiktokv.com com.zhiliaoapp.musically com.ss.android.ugc.trill",
    "douyin.com": "douyin com.ss.android.ugc.aweme",
    "twitch.tv": "twitch tv.twitch.android.app",
    "vimeo.com": "vimeo com.vimeo.android.videoapp",
    "dailymotion.com": "dailymotion dai.ly com.dailymotion.dailymotion",
    "bilibili.com": "bilibili b23.tv tv.danmaku.bili",
    "netflix.com": "netflix com.netflix.mediaclient",
    "rumble.com": "rumble",
    # shops
    "amazon.com": "amazon amzn amzn.to amzn.eu a.co com.amazon.mshop.android.shopping",
    "ebay.com": "ebay ebay.us com.ebay.mobile",
    "etsy.com": "etsy etsy.me com.etsy.android",
    "walmart.com": "walmart walmart.com.mx walmart.ca com.walmart.android",
    "mercadolibre.com": "mercadolibre",
    "shopee.com": "shopee",
    "lazada.com": "lazada",
    "aliexpress.com": "aliexpress aliexpress.ru aliexpress.us s.click.aliexpress.com com.alibaba.aliexpresshd",
    "idealo.de": "idealo idealo.co.uk idealo.at idealo.fr idealo.it idealo.es de.idealo.android",
    "zalando.com": "zalando zalando.de zalando.at zalando.ch zalando.fr zalando.it zalando.co.uk zalando.pl "
    "de.zalando.mobile",
    "rakuten.com": "rakuten rakuten.com.tw",
    "shopify.com": "shopify",
    # assistants
    "chatgpt.com": "chatgpt chat-gpt chat.openai.com com.openai.chatgpt",
    "openai.com": "openai",
    "perplexity.ai": "perplexity perplexity.com pplx.ai ai.perplexity.app.android",
    "claude.ai": "claude anthropic claude.com com.anthropic.claude",
    "gemini.google.com": "gemini gemini.google google-gemini bard bard.google.com com.google.android.apps.bard",
    "copilot.microsoft.com": "copilot microsoft-copilot copilot.com copilot.cloud.microsoft m365.cloud.microsoft "
    "edgeservices.bing.com com.microsoft.copilot",
    "notebooklm.google.com": "notebooklm notebooklm.google",
    "deepseek.com": "deepseek com.deepseek.chat",
    "mistral.ai": "mistral le-chat ai.mistral.chat",
    "grok.com": "grok x.ai ai.x.grok",
    "meta.ai": "meta-ai metaai",
    "poe.com": "poe com.poe.android com.quora.poe",
    "chat.qwen.ai": "qwen",
    "character.ai": "ai.character.app",
    "phind.com": "phind",
    "kimi.com": "kimi kimi.moonshot.cn com.moonshot.kimichat",
    # mail
    "mail.google.com": "gmail google-mail gmail.com inbox.google.com com.google.android.gm",
    "outlook.live.com": "outlook hotmail outlook.com hotmail.com mail.live.com outlook.office.com "
    "outlook.office365.com outlook.cloud.microsoft com.microsoft.office.outlook",
    "mail.yahoo.com": "yahoo-mail mail.yahoo.net com.yahoo.mobile.client.android.mail",
    "mail.proton.me": "proton protonmail mail.protonmail.com ch.protonmail.android",
    "mail.ru": "e.mail.ru touch.mail.ru away.mail.ru ru.mail.mailapp",
    "mail.yandex.ru": "yandex-mail ru.yandex.mail",
    "substack.com": "substack open.substack.com com.substack.app",
    # gateways that rewrite the links of mails
    "urldefense.com": "urldefense.proofpoint.com urldefense.us",
    "mimecast.com": "mimecastprotect.com",
    # others
    "meta": "fb-ig ig-fb facebook-instagram",
    "last.fm": "lastfm lastfm.de lastfm.com.tr lastfm.fr lastfm.it lastfm.es lastfm.ru lastfm.com.br lastfm.pl",
    "googlesyndication.com": "tpc.googlesyndication.com",
    "doubleclick.net": "googleads.g.doubleclick.net",
    "officeapps.live.com": "microsoft-365",
    "linktr.ee": "linktree",
    "mastodon": "org.joinmastodon.android com.keylesspalace.tusky",
    "email": "e-mail mails com.android.email com.samsung.android.email.provider com.fsck.k9 net.thunderbird.android "
    "me.bluemail.mail",
    "newsletter": "news-letter newsletters e-newsletter enewsletter",
    "sms": "com.google.android.apps.messaging com.samsung.android.messaging",
    "spotify.com": "spotify spoti.fi com.spotify.music",
    "soundcloud.com": "soundcloud exit.sc gate.sc com.soundcloud.android",
    "docs.google.com": "com.google.android.apps.docs",
    "news.google.com": "google-news googlenews news.url.google.com com.google.android.apps.magazines",
    "translate.google.com": "google-translate translate.googleusercontent.com com.google.android.apps.translate",
    "maps.google.com": "google-maps maps.app.goo.gl com.google.android.apps.maps",
    "github.com": "github com.github.android",
    "feedly.com": "feedly com.devhd.feedly",
    "inoreader.com": "inoreader com.innologica.inoreader",
    "apple.news": "applenews apple-news",
    "dzen.ru": "dzen zen.yandex.ru",
}
_SPELLINGS = {spelling: name for name, text in _NETWORKS.items() for spelling in (name, *text.split())}
# Subdomains of these are other services, or other people's sites.
_ALONE = frozenset(
    ("google.com", "yandex.ru", "amazon.com", "ebay.com", "tumblr.com", "medium.com", "mail.ru", "substack.com")
)
_PACKAGE = re.compile(r"(com|org|net|tv|ru|jp|cz|ai|de|ch|xyz|flipboard)\.")  # how names of Android apps begin
_GAPS = re.compile(r"[\s_+-]+")
_AROUND = " \t\"'`“”‘’«»,;.:!()<>\\"  # copied along with a tag
# What people, and the networks' own placeholders, write behind a network's name: where on it a link stands.
_PLACES = frozenset(
    ("ad", "ads", "advertising", "app", "bio", "campaign", "channel", "company", "cpc", "cpm", "description", "desktop",
     "direct", "explore", "feed", "feeds", "group", "groups", "marketplace", "mobile", "organic", "page", "paid",
     "post", "posts", "ppc", "profile", "reel", "reels", "remarketing", "retargeting", "search", "shorts", "social",
     "stories", "story", "video", "videos")
)  # fmt: skip
_ADVERTISING = frozenset(("ad", "ads", "advertising", "cpc", "cpm", "ppc", "paid", "remarketing", "retargeting"))
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_END = re.compile(r"[/?#]")  # of an address's authority
_DEVICE = re.compile(r"(?:www\d?|m|mobile|amp|touch|wap)\.")
_INNER_DEVICE = re.compile(r"(?<=\.)(?:(?:m|mobile)\.)+(?=[^.]+\.[^.]+$)")  # en.m.wikipedia.org
_WEBMAIL = re.compile(r"(?:webmail\d*[a-z]?|e?mail\d*|poczta|roundcube|zimbra|owa)\.")
_OF_MAIL = re.compile(r"(?<![a-z])(?:email|newsletters?)(?![a-z])")  # in a tag
# What software of many sites is, by the label that such a site's host often begins with.
_BY_LABEL = {
    "mastodon": Kind.SOCIAL, "mstdn": Kind.SOCIAL, "lemmy": Kind.SOCIAL, "pixelfed": Kind.SOCIAL,
    "misskey": Kind.SOCIAL, "peertube": Kind.VIDEO, "searx": Kind.SEARCH, "searxng": Kind.SEARCH,
}  # fmt: skip
_LONGEST = 256  # characters of a name
_SECOND_LEVEL = frozenset(("co", "com", "org", "net", "gov", "edu", "ac", "or", "ne"))


@lru_cache(maxsize=4096)
def name_of(source: str) -> str:
    """Returns what a source is called: the main host of a network that is known by this host, app or tag.

    Any other host, also that of an address with its scheme, is named without `www.`, `m.` and the like and in its own
    letters (bücher.example), any other text by itself in lower case, with one blank for each run of white space.
    `name_of` of a name is the name. Never raises.
    """
    text = " ".join(source.lower().split())[:_LONGEST].rstrip()
    text = f"https:{text}" if text.startswith("//") and len(text) < _LONGEST - 6 else text
    if scheme := _SCHEME.match(text):
        authority = _END.split(text[scheme.end() :], maxsplit=1)[0]
        text = host_of(authority.rpartition("@")[2]) or text
    text = text if " " in text else in_letters(text)
    host = _without_device(_SCHEME.sub("", text.strip(_AROUND), count=1).partition("/")[0].partition("?")[0])
    rest = _without_device(text)
    return _network(host) or _network_of_tag(host) or (rest if rest == text else name_of(rest))


@lru_cache(maxsize=4096)
def kind_of(source: str) -> Kind | None:
    """Returns the kind of a host, an app or a tag; None if no list has it."""
    name = name_of(source)
    if kind := TAGS.get(_GAPS.sub("-", name)):
        return kind
    for host in _above(name):
        if host in PLAIN_HOSTS:
            return None
        if kind := HOSTS.get(host):
            return Kind.EMAIL if kind is Kind.SEARCH and _WEBMAIL.match(name) else kind
    if brand := _brand(name):
        return brand[0]
    label, dot, _ = name.partition(".")
    if _WEBMAIL.match(name) or (not dot and _OF_MAIL.search(name)):
        return Kind.EMAIL
    return _BY_LABEL.get(label) if dot else None


def is_advertising(tag: str) -> bool:
    """Whether a tag names a network and its advertisements: "fb-ads", "Google Ads", "adwords"."""
    key = _GAPS.sub("-", tag.lower().strip(_AROUND)).strip("-")
    if not _ADVERTISING.isdisjoint(key.split("-")[1:]):
        return _network_of_tag(key) is not None
    network = key.removesuffix("s").removesuffix("ad")
    return key in ("adwords", "gads") or (network not in (key, key[:-1]) and network in _SPELLINGS)


def _network(host: str) -> str | None:
    if brand := _brand(host):
        return brand[1]
    home = _at_home(host)
    if (plain := _without_device(home)) != home:  # 0.m.google.co.uk
        return name_of(plain)
    for above in _above(home):
        kind = HOSTS.get(above)
        if kind is Kind.SEARCH and _WEBMAIL.match(home):
            return home
        if (above == home or ("." in above and above not in _ALONE)) and (name := _SPELLINGS.get(above)):
            return name
        if (kind in (Kind.EMAIL, Kind.SEARCH) and above not in _ALONE) or above in PLAIN_HOSTS:
            return above  # the many servers of one provider, or one service of many countries
        if kind:
            return home
    if home != host:
        return home
    if _PACKAGE.match(host):
        labels = host.split(".")
        for end in range(len(labels) - 1, 1, -1):
            if name := _SPELLINGS.get(".".join(labels[:end])):
                return name
    return None


def _network_of_tag(tag: str) -> str | None:
    """What a tag means that has more in it than a network's name: "Facebook Ads", "fbads", "Instagram_Stories"."""
    key = _GAPS.sub("-", tag.strip(_AROUND)).strip("-")
    if name := _SPELLINGS.get(key):
        return name
    words = key.split("-")
    while len(words) > 1 and words[-1] in _PLACES:
        words.pop()
    short = "-".join(words)
    for part in (short, short.removesuffix("ads"), short.removesuffix("page")):
        if "." not in part and part != key and (name := _SPELLINGS.get(part) or (part if part in TAGS else None)):
            return name
    return None


def _brand(host: str) -> tuple[Kind, str] | None:
    """The brand of google.de, google.com, amazon.com.br."""
    before, brand = _branded(host)
    part = before[0] if before else "m"
    return brand if len(before) < 2 and (part in _BRAND_PARTS or len(part) == 2) else None


def _at_home(host: str) -> str:
    """The host of the same service at the brand's main domain: scholar.google.com for scholar.google.de."""
    before, brand = _branded(host)
    return host if brand is None or _PACKAGE.match(host) else ".".join([*before, brand[1]])


def _branded(host: str) -> tuple[list[str], tuple[Kind, str] | None]:
    """The labels before a brand's, and the brand, of a host whose brand has a short label behind it, or `com` and the
    like of a country."""
    labels = host.split(".")
    for size in (1, 2):
        of_country = len(labels[-1]) == 2 and not _SECOND_LEVEL.isdisjoint(labels[-2:-1])
        fits = len(labels) > size and (of_country if size == 2 else len(labels[-1]) <= 3)
        if fits and (brand := _BRANDS.get(labels[-size - 1])):
            return labels[: -size - 1], brand
    return [], None


def _above(host: str) -> Iterator[str]:
    """The host, then each domain that it is in."""
    while host:
        yield host
        host = host.partition(".")[2]


def _without_device(text: str) -> str:
    """The host without the label for phones and the like, if something is left that can be a site's host."""
    text = _INNER_DEVICE.sub("", text)
    while (found := _DEVICE.match(text)) is not None:
        rest = text[found.end() :]
        if "." not in rest or (rest.count(".") == 1 and rest.partition(".")[0] in _SECOND_LEVEL):
            break
        text = rest.lstrip()
    return text
