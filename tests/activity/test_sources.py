"""One source under one name: hosts, apps and tags of a network; and of what kind it is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activity import url
from activity.attribution import origin, referrer_host
from activity.sources import _SPELLINGS as SPELLINGS
from activity.sources import HOSTS, PLAIN_HOSTS, TAGS, Kind, kind_of, name_of


@pytest.mark.parametrize(
    ("name", "referrers", "tags"),
    [
        ("facebook.com",
         ["https://www.facebook.com/", "https://m.facebook.com/", "http://l.facebook.com/l.php?u=x", "https://fb.me/x",
          "https://lm.facebook.com/", "https://de-de.facebook.com/", "android-app://com.facebook.katana/"],
         ["facebook", "Facebook", "FB", " Facebook ", "facebook_ads", "Facebook Ads", "fbads", "facebook.com",
          "www.facebook.com", "https://www.facebook.com/groups/1"]),
        ("instagram.com", ["https://l.instagram.com/?u=x", "android-app://com.instagram.android"], ["ig", "Instagram"]),
        ("x.com", ["https://t.co/a", "https://mobile.twitter.com/", "android-app://com.twitter.android"],
         ["twitter", "X", "Twitter.com"]),
        ("reddit.com", ["https://out.reddit.com/t3_x", "https://old.reddit.com/", "https://redd.it/x"], ["Reddit"]),
        ("linkedin.com", ["https://lnkd.in/x", "https://de.linkedin.com/", "android-app://com.linkedin.android"],
         ["LinkedIn", "linked in"]),
        ("vk.com", ["https://away.vk.com/away.php", "https://m.vk.com/", "https://vk.ru/"], ["vkontakte"]),
        ("pinterest.com", ["https://www.pinterest.de/", "https://uk.pinterest.com/", "https://www.pinterest.com.au/",
                           "android-app://com.pinterest/", "https://pin.it/x"], ["Pinterest"]),
        ("google.com", ["https://www.google.com/", "https://www.google.de/", "https://google.co.uk", "https://google.com.br",
                        "https://images.google.fr/", "android-app://com.google.android.googlequicksearchbox/"],
         ["google", "Google", "GOOGLE ADS", "adwords"]),
        ("mail.google.com", ["https://mail.google.com/", "android-app://com.google.android.gm/"], ["gmail", "Gmail"]),
        ("yahoo.com", ["https://de.search.yahoo.com/", "https://r.search.yahoo.com/x"], ["Yahoo"]),
        ("youtube.com", ["https://m.youtube.com/", "https://youtu.be/x"], ["YouTube", "yt", "you tube"]),
        ("chatgpt.com", ["https://chat.openai.com/", "https://chatgpt.com/"], ["chatgpt.com", "ChatGPT"]),
        ("outlook.live.com", ["https://eur01.safelinks.protection.outlook.com/?url=x"], ["Outlook"]),
        ("news.example", ["https://news.example/", "https://www.news.example/", "https://m.news.example:8443/a",
                          "https://amp.news.example/"], ["News.example", "WWW.news.example"]),
        ("blog.example.org", ["https://www.blog.example.org/a"],
         ["https://www.blog.example.org/a", "HTTP://me@blog.example.org:8080?x=1", "blog.example.org"]),
        ("com.example.app", ["android-app://com.example.app/"], ["android-app://com.example.app/x"]),
        ("en.wikipedia.org", ["https://en.wikipedia.org/", "https://en.m.wikipedia.org/wiki/Hat"], []),
        ("sm.cn", ["https://yz.m.sm.cn/s?q=x", "https://quark.sm.cn/", "https://so.m.sm.cn/"], []),
        ("aol.com", ["https://search.aol.co.uk/", "https://search.aol.com/"], ["AOL"]),
        ("startpage.com", ["https://s8-eu5.startpage.com/", "https://www.ixquick.de/"], ["Startpage"]),
        ("aliexpress.com", ["https://de.aliexpress.com/", "https://s.click.aliexpress.com/e/x"], ["AliExpress"]),
        ("bücher.example", ["https://www.xn--bcher-kva.example/"], ["bücher.example", "BÜCHER.example"]),
        ("xn--a.example", ["https://xn--a.example/"], ["xn--a.example"]),
        ("email", ["android-app://com.samsung.android.email.provider/", "android-app://com.fsck.k9"], ["E-Mail"]),
        ("sms", ["android-app://com.google.android.apps.messaging/"], ["SMS"]),
        ("newsletter", [], ["Newsletter", "news_letter", "newsletters", "newsletter campaign"]),
        ("facebook.com", [],
         ["facebook feed", "Facebook_Mobile_Feed", "FBPAGE", '"facebook"', "facebook;", "facebook."]),
        ("instagram.com", [], ["Instagram_Stories", "ig_bio", "instagram-reels"]),
        ("meta", [], ["Meta", "meta_ads", "Meta Ads"]),
        ("bing.com", [], ["Microsoft Ads", "microsoft_advertising", "bing-ads"]),
        ("yandex.ru", ["https://yandex.com.tr/", "https://ya.ru/"], ["Yandex.Direct", "yandex_direct"]),
        ("whatsapp.com", ["https://l.wl.co/l?u=x"], ["Whats App", "WhatsApp"]),
        ("scholar.google.com", ["https://scholar.google.de/", "https://scholar.google.co.uk/"], ["scholar.google.com"]),
        ("translate.google.com", ["https://translate.google.fr/", "https://translate.googleusercontent.com/"], []),
        ("news.yahoo.com", ["https://news.yahoo.com/", "https://uk.news.yahoo.com/"], []),
        ("mail.yandex.ru", ["https://mail.yandex.com.tr/", "https://mail.yandex.ru/"], []),
        ("news.ycombinator.com", ["https://hckrnews.com/", "android-app://io.github.hidroh.materialistic"], ["HN"]),
        ("outlook.live.com", ["https://snt146.mail.live.com/"], ["Hotmail"]),
        ("urldefense.com", ["https://urldefense.proofpoint.com/v2/url?u=x", "https://urldefense.com/v3/__x"], []),
        ("news.example", ["https://news-example.cdn.ampproject.org/", "https://www-news-example.translate.goog/a",
                          "https://cdn.ampproject.org/c/s/news.example/a", "https://news-example.bing-amp.com/"], []),
        ("my-news.example", ["https://my--news-example.cdn.ampproject.org/"], []),
        ("bücher.example", ["https://xn--bcher-example-wob.cdn.ampproject.org/"], []),
        ("0a1b2c.cdn.ampproject.org", ["https://0a1b2c.cdn.ampproject.org/"], []),
        ("facebook.com", [], ["fcb", "Facebook Marketplace", "facebook_cpc"]),
        ("google.com", [], ["google_search_ads", "google-cpc", "GMB"]),
        ("getpocket.com", [], ["pocket-newtab", "pocket_mylist"]),
        ("reddit.com", ["android-app://me.ccrama.redditslide/", "https://sh.reddit.com/"], ["Reddit Ads"]),
        ("youtube.com", ["android-app://com.google.android.apps.youtube.music/"], ["youtube shorts", "(youtube)"]),
        ("linkedin.com", ["https://www.linkedin.cn/"], ["“LinkedIn”"]),
        ("facebook fans of hats", [], ["Facebook fans of hats"]),
        ("https://", [], ["https://"]),
        ("facebook.com", [], ["//facebook.com/", "//www.facebook.com/groups/1"]),
        ("officeapps.live.com", ["https://cac-excel.officeapps.live.com/", "https://euc.officeapps.live.com/"], []),
        ("googlesyndication.com", ["https://2b.safeframe.googlesyndication.com/"], []),
        ("doubleclick.net", ["https://googleads.g.doubleclick.net/"], []),
        ("linktr.ee", ["https://linktr.ee/me"], ["linktree"]),
        ("shopee.com", ["https://shopee.com.my/", "https://shopee.co.id/", "https://shopee.tw/"], ["Shopee"]),
        ("mercadolibre.com", ["https://articulo.mercadolibre.com.mx/", "https://mercadolibre.com.ar/"], []),
        ("walmart.com", ["https://www.walmart.com.mx/"], ["walmart"]),
        ("aol.com", ["http://www.aolsearch.com/search"], []),
        ("ask.com", ["http://uk.search-results.com/web"], []),
        ("so.com", ["https://so.360.cn/s", "https://m.so.com/s"], []),
        ("mail.yahoo.com", ["http://36ohk6.c.yom.mail.yahoo.net/om", "https://mail.yahoo.com/"], []),
        ("last.fm", ["http://lastfm.com.tr/", "https://www.last.fm/"], ["lastfm"]),
        ("claude.ai", [], ["anthropic", "Claude"]),
        ("chat.qwen.ai", ["https://chat.qwen.ai/"], ["qwen"]),
        ("gemini.google.com", ["https://gemini.google/"], ["gemini"]),
        ("poe.com", ["android-app://com.quora.poe"], []),
        ("meta", [], ["fb_ig", "Facebook Instagram"]),
        ("spring letter", [], ["Spring Letter", "spring  letter", " SPRING LETTER "]),
    ],
)  # fmt: skip
def test_a_network_is_one_source(name: str, referrers: list[str], tags: list[str]) -> None:
    assert {origin({}, referrer_host(referrer)).source for referrer in referrers} <= {name}
    for tag in tags:
        found = origin(url.parameters(f"utm_source={tag}".replace(" ", "+")), "")
        assert (found.source, found.utm_source) == (name, " ".join([tag.strip()]))


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("docs.google.com", None),
        ("scholar.google.com", None),
        ("gemini.google.com", Kind.AI),
        ("shopping.google.com", Kind.SHOPPING),
        ("google.example.org", None),
        ("google.foo.com", None),
        ("amazon.foo.uk", None),
        ("google.com.net", None),
        ("pinterest.co.com", None),
        ("notfacebook.com", None),
        ("facebook.com.example.net", None),
        ("fb.me.example.net", None),
        ("finance.yahoo.com", None),
        ("alice.medium.com", Kind.SOCIAL),
        ("someone.tumblr.com", Kind.SOCIAL),
        ("go.mail.ru", Kind.SEARCH),
        ("suche.web.de", Kind.SEARCH),
        ("mstdn.social", Kind.SOCIAL),
        ("webmail2.example.fr", Kind.EMAIL),
        ("webmail1m.example.fr", Kind.EMAIL),
        ("my.mail.ru", Kind.SOCIAL),
        ("news.mail.ru", None),
        ("steamcommunity.com", Kind.SOCIAL),
        ("weekly_newsletter", Kind.EMAIL),
        ("newsletter.example", None),
        ("newsletterly", None),
        ("threads.example", None),
        ("notofficeapps.live.com", None),
        ("isearch.avg.com", Kind.SEARCH),
        ("chatglm.cn", Kind.AI),
        ("mail.example.fr", Kind.EMAIL),
        ("mail.naver.com", Kind.EMAIL),
        ("email.seznam.cz", Kind.EMAIL),
        ("mastodon.example", Kind.SOCIAL),
        ("searx.example", Kind.SEARCH),
        ("mastodontics", None),
        ("com.amazon.mp", None),
        ("m.co.uk", None),
        ("ads", None),
        ("xn-- bcher-kva", None),
        ("", None),
    ],
)
def test_what_is_a_source_of_its_own_keeps_its_name(host: str, kind: Kind | None) -> None:
    assert (name_of(host), kind_of(host)) == (host, kind)


def test_each_entry_of_the_lists_means_what_it_says() -> None:
    assert {spelling: name_of(spelling) for spelling in SPELLINGS} == SPELLINGS
    assert {host: kind_of(host) for host in HOSTS} == HOSTS
    assert {tag: kind_of(tag) for tag in TAGS} == TAGS
    assert {kind_of(host) for host in PLAIN_HOSTS} == {None}
    assert {name for name in SPELLINGS.values() if kind_of(name) is None} == {
        "news.google.com", "docs.google.com", "translate.google.com", "maps.google.com", "soundcloud.com", "sms",
        "spotify.com", "github.com", "feedly.com", "inoreader.com", "apple.news", "dzen.ru", "googlesyndication.com",
        "doubleclick.net", "officeapps.live.com", "linktr.ee",
    }  # fmt: skip


LABELS = st.sampled_from(["m", "www", "google", "facebook", "com", "co", "uk", "line", "x", "fb", "de", "a"])


@given(st.text(max_size=300) | st.lists(LABELS, max_size=6).map(".".join) | st.lists(LABELS, max_size=3).map(" ".join))
@example("0.M.GOOGLE.CO.00")
@example("images.m.google.co.uk")
@example("m.m.images.google.co.uk")
def test_a_name_is_its_own_name_and_has_the_kind_of_what_it_names(text: str) -> None:
    name = name_of(text)
    assert name_of(name) == name
    assert kind_of(name) == kind_of(text)
    assert len(name) <= 256
