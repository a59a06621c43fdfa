"""Agents of people and of bots. The bot verdict is crawlerdetect's own, reached faster."""

from __future__ import annotations

import pytest
from crawlerdetect import CrawlerDetect
from hypothesis import given
from hypothesis import strategies as st

from activity.user_agent import Agent, data_version, parse

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
PEOPLE = {
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/130.0.0.0 Safari/537.36": Agent(
        "Chrome", "130", "Linux", "", "desktop"
    ),
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36": Agent(
        "Chrome", "126", "Android", "14", "mobile"
    ),
    f"Mozilla/5.0 (Linux; Android 13; SM-X906C) {WEBKIT} Chrome/126.0.0.0 Safari/537.36": Agent(
        "Chrome", "126", "Android", "13", "tablet"
    ),
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 "
    "Mobile/15E148 Safari/604.1": Agent("Safari", "17", "iOS", "17.4", "mobile"),
    "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.0 "
    "Mobile/15E148 Safari/604.1": Agent("Safari", "16", "iOS", "16.0", "tablet"),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 "
    "Safari/605.1.15": Agent("Safari", "17", "macOS", "10.15", "desktop"),
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0": Agent(
        "Firefox", "130", "Windows", "10", "desktop"
    ),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0": Agent(
        "Edge", "120", "Windows", "10", "desktop"
    ),
}
ELECTRON = "Chrome/120.0.6099.291 Electron/28.2.3 Safari/537.36"
MAC = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT}"
PEOPLE_BEFORE_APPLICATIONS = [
    f"{MAC} Slack/4.36.140 {ELECTRON}",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} discord/1.0.9032 {ELECTRON}",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Code/1.89.1 {ELECTRON}",
    f"{MAC} Some-Fetcher/1.0 Slack/4.36 {ELECTRON}",
    f"{MAC} WhatsApp/2.2 {ELECTRON}",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 Notion/3.1",
    "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)",
    "Mozilla/5.0 (compatible; Konqueror/4.5; FreeBSD) KHTML/4.5.4 (like Gecko)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
    "[FBAN/FBIOS;FBAV/450.0;FBDV/iPhone14,3]",
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) {WEBKIT} Version/4.0 Chrome/126.0.0.0 Mobile Safari/537.36",
]
PEOPLE_IN_TERMINALS = [
    "Lynx/2.8.9rel.1 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/1.1.1d",
    "w3m/0.5.3+git20230121",
    "Links (2.21; Linux 5.4 x86_64; GNU C 9.2; text)",
    "ELinks/0.13.GIT (textmode; Linux; 80x24-2)",
]
PEOPLE_WITH_OLD_PHONES = [
    "UCWEB/2.0 (Java; U; MIDP-2.0; en-US; nokia5130) U2/1.0.0 UCBrowser/9.4",
    "Nokia6100/1.0 (04.01) Profile/MIDP-1.0 Configuration/CLDC-1.0",
]
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT}"
ANDROID = "Mozilla/5.0 (Linux; Android 10;"
K = f"{ANDROID} K) {WEBKIT}"
PIXEL = f"Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) {WEBKIT} Version/4.0 Chrome/126.0.0.0 Mobile Safari/537.36"
HARMONY = f"OpenHarmony 5.0) {WEBKIT} Chrome/114.0.0.0 Safari/537.36"
NAMED_BY_THEMSELVES = {  # browser, system, device
    f"{IPHONE} Mobile/22F76 LinkedInApp/9.31.4520": "LinkedIn, iOS, mobile",
    f"{PIXEL} [LinkedInApp]/4.1.800": "LinkedIn, Android, mobile",
    f"{IPHONE} Mobile/15E148 KAKAOTALK 25.5.1": "KakaoTalk, iOS, mobile",
    f"{PIXEL};KAKAOTALK 2410900": "KakaoTalk, Android, mobile",
    f"{PIXEL} MMWEBID/1234 MicroMessenger/8.0.48.2580(0x28003035) WeChat/arm64": "WeChat, Android, mobile",
    f"{IPHONE} Mobile/15E148 Barcelona 385.0.0.30.82 (iPhone14,5; iOS 18_5; en_US)": "Threads, iOS, mobile",
    f"{IPHONE} Mobile/15E148 AliApp(TB/10.42.10) WindVane/8.7.2 1170x2532": "Taobao, iOS, mobile",
    f"{IPHONE} FxiOS/FocusiOS/139 Mobile/15E148 Safari/605.1.15": "Firefox Focus, iOS, mobile",
    f"{IPHONE} Version/18.5 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15": "DuckDuckGo, iOS, mobile",
    f"{K} Version/4.0 Chrome/137.0.0.0 Mobile DuckDuckGo/5 Safari/537.36": "DuckDuckGo, Android, mobile",
    f"{K} Chrome/136.0.0.0 Mobile Safari/537.36 Vivaldi/7.4.3691.52": "Vivaldi, Android, mobile",
    f"{WINDOWS} Chrome/86.0.4240.198 Safari/537.36 QIHU 360SE": "360 Secure Browser, Windows, desktop",
    f"{WINDOWS} obsidian/1.6.3 {ELECTRON}": "obsidian, Windows, desktop",
    f"{WINDOWS} Teams/24124.2315.2911 Chrome/125.0.0.0 Electron/30 Safari/537.36": "Microsoft Teams, Windows, desktop",
    f"Mozilla/5.0 (Phone; {HARMONY}  ArkWeb/4.1.6.1 Mobile HuaweiBrowser/5.1.3": "Huawei Browser, HarmonyOS, mobile",
    f"Mozilla/5.0 (Tablet; {HARMONY}  ArkWeb/4.1.6.1": "Chrome, HarmonyOS, tablet",
    f"Mozilla/5.0 (PC; {HARMONY} ArkWeb/6.0.0.47": "Chrome, HarmonyOS, desktop",
    f"Mozilla/5.0 (Linux; Android 12; HarmonyOS; NOH-AN00) {WEBKIT} Chrome/114.0.0.0 Mobile Safari/537.36": (
        "Chrome, HarmonyOS, mobile"
    ),
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko)": "WebKit, Linux, desktop",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)": (
        "Safari WebView, macOS, desktop"
    ),
    "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; Tablet PC 2.0; rv:11.0) like Gecko": "IE, Windows, desktop",
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows CE; IEMobile 7.11)": "IE, Windows, mobile",
    "Mozilla/5.0 (X11; Linux aarch64; rv:109.0) Gecko/20100101 Firefox/115.0 Mobile": "Firefox, Linux, mobile",
    f"Mozilla/5.0 (Linux; Android 11; Chromecast HD Build/S.1) {WEBKIT} Chrome/119.0.0.0 Safari/537.36": (
        "Chrome, Android, tv"
    ),
    f"Mozilla/5.0 (VIDAA 6.0; Linux armv7l) {WEBKIT} Chrome/88.0.0.0 Safari/537.36 HisenseTV": "Chrome, Linux, tv",
    "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/191.308; U; en) Presto/2.12.423": "Opera Mini, , mobile",
    "Opera/9.80 (Android; Opera Mini/36.2.2254/191.308; U; de) Presto/2.12.423": "Opera Mini, Android, mobile",
    "DoCoMo/2.0 P900i(c100;TB;W24H11)": ", , mobile",
    "Instagram 330.0.0.40.92 Android (34/14; 420dpi; Google/google; Pixel 8; en_US)": "Instagram, Android, mobile",
    "Mozilla/4.0 (compatible; Dillo 3.1)": "Dillo, , ",
    "NetSurf/3.11 (Linux)": "NetSurf, Linux, desktop",
    "w3m/0.5.3+git20230718": "w3m, , ",
    "URL/Emacs Emacs/29.4 (X11; x86_64-pc-linux-gnu)": "Emacs, Linux, desktop",
    f"Mozilla/5.0 (Linux; Android 10; Robot Phone 5) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36": (
        "Chrome, Android, mobile"
    ),
    f"{PIXEL}Snapchat12.8.0.4 (Pixel 8; Android 14#1#34; gzip)": "Snapchat, Android, mobile",
    f"{PIXEL} MetaIAB Facebook": "Facebook, Android, mobile",
    f"{PIXEL} YaBrowser/24.1.2.250 (lite)": "Yandex Browser, Android, mobile",
    f"{PIXEL} YaApp_Android/23.110 YaSearchBrowser/23.110": "Yandex Browser, Android, mobile",
    f"{PIXEL} SogouMSE,SogouMobileBrowser/6.1.5": "Sogou Mobile Browser, Android, mobile",
    f"{PIXEL} YJApp-ANDROID jp.co.yahoo.android.yjtop/3.227.1": "Yahoo! Japan, Android, mobile",
    f"{PIXEL} Quark/4.2.0.137": "Quark, Android, mobile",
    f"{PIXEL} com.yandex.zen/4.4.0.2189": "Chrome WebView, Android, mobile",
    "Dalvik/2.1.0 (Linux; U; Android 6.0; SMART_Speedy_5 Build/M)": "Android, Android, mobile",
    "Mozilla/5.0 (compatible; IBrowse 3.0; AmigaOS4.0)": ", , ",
    f"{PIXEL} GoogleApp/12.4.9": "Google, Android, mobile",
    f"{PIXEL} BingWeb/9.4": "Bing, Android, mobile",
    f"{PIXEL} GNews Android/2022": "Google News, Android, mobile",
    "Mozilla/5.0 (PS3) AppleWebKit/535.11 (KHTML, like Gecko) NuantiMeta/2.0": ", , console",
    f"{ANDROID} ACME Box 2) {WEBKIT} Chrome/107.0.0.0 Safari/537.36": "Chrome, Android, tv",
    f"{ANDROID} Acme Shell 50T1) {WEBKIT} Chrome/107.0.0.0 Safari/537.36": "Chrome, Android, tv",
    f"{ANDROID} AC-LED43X Build/R1A) {WEBKIT} Chrome/107.0.0.0 Mobile Safari/537.36": "Chrome, Android, tv",
    f"{ANDROID} 55U600GR Build/N; wv) {WEBKIT} Version/4.0 Chrome/52.0.1 Safari/537.36": "Chrome, Android, tv",
    f"{ANDROID} H96 Max) {WEBKIT} Chrome/107.0.0.0 Safari/537.36": "Chrome, Android, tv",
    f"{ANDROID} Alcatel_5033D_FHD) {WEBKIT} Chrome/81.0.0.0 Mobile Safari/537.36": "Chrome, Android, mobile",
    f"{ANDROID} AC_FHD) {WEBKIT} Chrome/81.0.0.0 Safari/537.36": "Chrome, Android, tv",
    f"{ANDROID} HP Slate 6 Voice Tab Build/K) {WEBKIT} Chrome/46.0.2.7 Mobile Safari/537.36": "Chrome, Android, mobile",
    f"{ANDROID} X96Pro) {WEBKIT} Chrome/91.0.4.1 YaApp_Android/21.66.1 YaSearchBrowser/21.66.1 Mobile": (
        "Yandex Browser, Android, mobile"
    ),
    "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; Dell.com Tab; rv:11.0) like Gecko": "IE, Windows, desktop",
    f"{ANDROID} A3-A20FHD) {WEBKIT} Chrome/81.0.0.0 Safari/537.36": "Chrome, Android, tablet",
    f"{ANDROID} SM-T365) {WEBKIT} Chrome/81.0.0.0 Mobile Safari/537.36": "Chrome, Android, tablet",
    f"{ANDROID} Tab 13 Pro) {WEBKIT} Chrome/81.0.0.0 Mobile Safari/537.36": "Chrome, Android, tablet",
    f"{ANDROID} SM-S918U) {WEBKIT} Chrome/81.0.0.0 Mobile Safari/537.36": "Chrome, Android, mobile",
    f"{ANDROID} HP Chromebook 13 G1) {WEBKIT} Chrome/80.0.0.0 Safari/537.36": "Chrome, Android, desktop",
    "Opera/9.80 (Linux mips; U; xx) Presto/2.10.250 Version/11.60": "Opera, Linux, tv",
    "Opera/9.80 (Linux armv7l; InettvBrowser/2.2 (00;SonyDTV140;1) KDL) Presto/2.12": "Opera, Linux, tv",
    f"Mozilla/5.0 (Web0S; Linux/SmartTV) {WEBKIT} Chrome/87.0.1.8 Safari/537.36 HbbTV/1.6 (+DRM; LGE/BOTECH)": (
        "Chrome, Web0S, tv"
    ),
    "ViziOS/1.4.512 VIZIO V655M-K04 WatchFree/24.06": ", , tv",
    "SmartTV/1.0.0 (SAMSUNG;OTV-1;0x01)": ", , tv",
    "Roku4640X/DVP-7.70 (297.70E04154A)": ", , tv",
    f"{WINDOWS} Chrome/121.0.0.0 Safari/537.36 Config/92.2.2788.20": "Config, Windows, desktop",
    f"{IPHONE} Version/17.4 Mobile/15E148 Safari/604.1 (Ecosia ios@9.2.3.1367)": "Ecosia, iOS, mobile",
    f"Job Search/24.4.0 {PIXEL}": "Chrome WebView, Android, mobile",
    f"Mozilla/5.0 (Linux; Android 10; ROBOT_S9 Build/QP1A; wv) {WEBKIT} Chrome/110.0.0.0 Mobile Safari/537.36": (
        "Chrome WebView, Android, mobile"
    ),
}
CHROME_IOS = f"{IPHONE} CriOS/103.0.5060.54 Mobile/15E148 Safari/604.1"
PEOPLE_IN_APPS = [  # that put their id, or their maker's site, around the agent of the view
    f"{PIXEL} com.manuito.tornlite",
    f"{PIXEL.replace('; wv', '')} com.manuito.tornlite",
    f"{CHROME_IOS} com.manuito.tornlite",
    f"{PIXEL} MyShop/3.2 (com.myshop.app; build:5; Android 13)",
    f"{CHROME_IOS} MyShop/3.2 (myshop.example.com; build:5; iOS 15)",
    f"{PIXEL} (com.my.app)",
    f"{PIXEL} (de.my.shop)",
    f"com.myshop.app/1.0 {PIXEL}",
    f"{CHROME_IOS} (Nextcloud-iOS/4.9.1 nextcloud.com)",
    f"{MAC} Version/17.4 Safari/605.1.15 com.myshop.app",
    f"{WINDOWS} Chrome/120.0.0.0 Safari/537.36 MyShop/3.2 (org.my-shop.app; x64)",
]
PEOPLE_WITH_NAMES_LIKE_PROGRAMS = [
    *(f"{PIXEL} {name}/7.1" for name in ("Skyscanner", "CamScanner", "QRScanner", "NewsNow", "CloudflareWARP")),
    *(f"{CHROME_IOS} {name}/7.1" for name in ("WeightWatchers", "Diagnostics", "BirdWatcher", "PhotoScan")),
    f"{ANDROID} Zebra TC52 Scanner) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36",
    f"{ANDROID} Catchpoint 5) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36",
    f"{WINDOWS} CamScanner/6.0 {ELECTRON}",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 Skyscanner/7.1",
    f"{WINDOWS} Chrome/131.0.0.0 Safari/537.36 CloudflareWARP/2.0",
]
PROGRAMS = {
    "Prometheus/2.40.5": "prometheus",
    "blackbox-exporter/0.24": "blackbox-exporter",
    "Consul Health Check": "consul",
    "Icinga/2.13": "icinga",
    "insomnia/9.2.0": "insomnia",
    "Microsoft-CryptoAPI/10.0": "microsoft-cryptoapi",
    "AntennaPod/3.4.0": "antennapod",
    "(x)": "x",
    "%": "crawler",
}
TOOLS = {  # that name their system
    "newsboat/2.35.0 (Linux x86_64)": "newsboat",
    "Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1.19041.4412": "windowspowershell",
    "Mozilla/5.0 (Linux; Ubuntu 22.04.4 LTS; en-US) PowerShell/7.4.2": "powershell",
    "Apache/2.4.59 (Debian) (internal dummy connection)": "apache",
}
ADDED = {  # to a browser's agent
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (compatible; NewAI/1.0; +https://new.example/x)": "newai",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (compatible; NewAI/1.0)": "newai",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 NewThing/1.0 (+https://new.example)": "newthing",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36; NewAI-User/1.0": "newai-user",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36; Operator/1.0": "operator",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (info@new.example)": "crawler",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (scanner; research@new.example)": "crawler",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 NewRelicSynthetics/1.0": "newrelicsynthetics",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 GoogleAgent-Mariner": "googleagent-mariner",
    f"{MAC}; compatible; Google-NotebookLM": "google-notebooklm",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/108.0.0.0 Safari/537.36 Checkly": "checkly",
    "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.0.0 "
    "Mobile Safari/537.36 (compatible; GoogleOther)": "googleother",
}
OPERATED = {  # a program's own words, its operator's site or address in or around a browser's agent
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (new.example.com)": "new.example.com",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 NewThing/2.0 (newthing.example)": "newthing",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (Research of us, https://new.example/about)": "new.example",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 abuse.new.example": "abuse.new.example",
    f"new.example/look {MAC} Chrome/131.0.0.0 Safari/537.36": "new.example",
    f"New Study/1.0 (https://new.example/study) {MAC} Chrome/131.0.0.0 Safari/537.36": "new.example",
    f"https://x1.new.example/5.0 (Windows NT 6.1) {WEBKIT} Chrome/75.0.0.0 Safari/537.36": "x1.new.example",
    f"{PIXEL} NewThing/2.0 (newthing.example; +)": "newthing",
    f"New Study/1.0 (https://new.example/study) {IPHONE} Version/17.4 Mobile/15E148 Safari/604.1": "new.example",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 de.new.example.com": "de.new.example.com",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 root@x1.new.example": "crawler",
    f"Mozilla/5.0 (Windows NT 10.0; CONTACT; us@new.example) {WEBKIT} Chrome/58.0 Safari/537.36": "crawler",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (via new image proxy)": "via-new-image-proxy",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 NewCookieScan/3.0": "newcookiescan",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36; Selenium": "selenium",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 Agent-NovaAct/0.9": "agent-novaact",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 New URL Preview": "url-preview",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (ThousandEyes Agent)": "thousandeyes",
    f"{WINDOWS} Cypress/13.6.0 {ELECTRON}": "cypress",
    "Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0; Catchpoint) like Gecko": "catchpoint",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36'+(select load_file('x'))+'": "scanner",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 ${{jndi:ldap://x}}": "scanner",
}
BOTS = {
    f"{MAC} NewsBot/1.0 {ELECTRON}": "newsbot",
    "links-checker/1.0": "links-checker",
    "w3m/0.5 Googlebot/2.1": "googlebot",
    "libwww-perl/6.68": "libwww-perl",
    "": "no-agent",
    "  ": "no-agent",
    "-": "no-agent",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/120.0.0.0 Safari/537.36": "headless",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "googlebot",
    f"Mozilla/5.0 {WEBKIT}; compatible; GPTBot/1.1; +https://openai.com/gptbot": "gptbot",
    "curl/8.5.0": "curl",
    "okhttp/4.12.0": "okhttp",
    "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)": "node-fetch",
    "got (https://github.com/sindresorhus/got)": "got",
    "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)": "meta-externalagent",
    f"Mozilla/5.0 {WEBKIT}; compatible; ChatGPT-User/1.0; +https://openai.com/bot": "chatgpt-user",
    f"Mozilla/5.0 {WEBKIT}; compatible; MistralAI-User/1.0; +https://docs.mistral.ai/robots": "mistralai-user",
    "Mastodon/4.2.8 (http.rb/5.2.0; +https://mastodon.social/) Bot": "mastodon",
    f"Mozilla/5.0 (linux) {WEBKIT} jsdom/24.1.0": "headless",
    f"Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36 (compatible; "
    "Googlebot/2.1; +http://www.google.com/bot.html)": "googlebot",
    f"Mozilla/5.0 (Linux; Android 7.0; PetalBot) {WEBKIT} Mobile Safari/537.36": "petalbot",
    "python-requests/2.31.0": "python-requests",
    "Yandex/1.0": "yandex",
}


@pytest.mark.parametrize("text", PEOPLE)
def test_people(text: str) -> None:
    assert parse(text) == PEOPLE[text]
    assert not CrawlerDetect().is_crawler(text)


@pytest.mark.parametrize(("text", "bot"), [*BOTS.items(), *TOOLS.items(), *ADDED.items(), *OPERATED.items()])
def test_bots(text: str, bot: str) -> None:
    assert parse(text).bot == bot


@pytest.mark.parametrize(
    "text",
    [*PEOPLE_BEFORE_APPLICATIONS, *PEOPLE_IN_TERMINALS, *PEOPLE_WITH_OLD_PHONES, *PEOPLE_IN_APPS,
     *PEOPLE_WITH_NAMES_LIKE_PROGRAMS],
)  # fmt: skip
def test_people_before_other_windows_than_a_browsers(text: str) -> None:
    assert parse(text).bot == ""


@pytest.mark.parametrize("text", NAMED_BY_THEMSELVES)
def test_browsers_and_applications_by_what_they_add_to_their_engines_agent(text: str) -> None:
    found = parse(text)
    assert (f"{found.browser}, {found.os}, {found.device}", found.bot) == (NAMED_BY_THEMSELVES[text], "")


@pytest.mark.parametrize("text", PROGRAMS)
def test_what_names_neither_browser_nor_system_is_a_bot(text: str) -> None:
    assert parse(text).bot == PROGRAMS[text]


KNOWN = [*PEOPLE, *BOTS, *PROGRAMS, *PEOPLE_IN_TERMINALS[1:], *PEOPLE_BEFORE_APPLICATIONS[1:3]]


@given(st.lists(st.sampled_from(KNOWN) | st.text(max_size=20), min_size=1, max_size=3).map(" ".join))
def test_the_verdict_on_bots_is_crawlerdetects_where_anything_is_known(text: str) -> None:
    verdict = CrawlerDetect().is_crawler(text[:512])
    found = parse(text)
    assert found.bot or not verdict
    # Beyond crawlerdetect's: ua-parser's spiders, which have a name as a browser has, and what has no such name.
    assert verdict or not found.bot or found.bot in ("no-agent", "headless") or found.browser or not found.os


def test_a_monstrous_agent_is_cut() -> None:
    assert parse("Mozilla/5.0 " + "x" * 1_000_000) == parse("Mozilla/5.0 " + "x" * 600)


def test_the_versions_of_the_data_are_told() -> None:
    assert data_version().startswith("ua=2")
    assert "bots=0." in data_version()
