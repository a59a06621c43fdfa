"""Which hosts and campaign sources are search engines, social networks, shops, ...: the data of `origin`.

Hosts are without `www.`; one stands for its subdomains too, and the longest that fits wins, so
`gemini.google.com` is an assistant while `google.com` is a search engine. Brands that live under many
country domains are given by their label alone. Raise `VERSION` with every change: it is stored with each
event, so that a number can be traced to the list it came from.
"""

from __future__ import annotations

from enum import StrEnum

VERSION = "1"


class Kind(StrEnum):
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

# <label>.<country's domain>: google.de, google.co.uk, amazon.fr. Only as the registrable name.
BRANDS: dict[str, Kind] = {
    "google": Kind.SEARCH,
    "yandex": Kind.SEARCH,
    "amazon": Kind.SHOPPING,
    "ebay": Kind.SHOPPING,
    "pinterest": Kind.SOCIAL,
}
# Hosts of those brands that are neither their search nor their shop; a referral and nothing more.
_PLAIN_HOSTS = (
    "docs.google.com drive.google.com sites.google.com groups.google.com news.google.com classroom.google.com "
    "accounts.google.com calendar.google.com meet.google.com play.google.com translate.google.com "
    "maps.google.com developers.google.com cloud.google.com support.google.com keep.google.com "
    "aws.amazon.com console.aws.amazon.com colab.research.google.com support.microsoft.com "
    "finance.yahoo.com news.yahoo.com sports.yahoo.com news.yahoo.co.jp blog.naver.com cafe.naver.com "
    "tieba.baidu.com baike.baidu.com zhidao.baidu.com pan.baidu.com webmaster.yandex.ru disk.yandex.ru"
)
PLAIN_HOSTS: frozenset[str] = frozenset(_PLAIN_HOSTS.split())

# What people write into utm_source, besides the hosts above.
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
