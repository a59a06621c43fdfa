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
PROGRAMS = {
    "Prometheus/2.40.5": "prometheus",
    "blackbox-exporter/0.24": "blackbox-exporter",
    "Consul Health Check": "consul",
    "Icinga/2.13": "icinga",
    "(x)": "x",
    "%": "crawler",
}
ADDED = {  # to a browser's agent
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (compatible; NewAI/1.0; +https://new.example/x)": "newai",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (compatible; NewAI/1.0)": "newai",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 NewThing/1.0 (+https://new.example)": "newthing",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36; NewAI-User/1.0": "newai-user",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36; Operator/1.0": "operator",
    f"{MAC} Chrome/131.0.0.0 Safari/537.36 (info@new.example)": "crawler",
    f"{MAC}; compatible; Google-NotebookLM": "google-notebooklm",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/108.0.0.0 Safari/537.36 Checkly": "checkly",
    "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.0.0 "
    "Mobile Safari/537.36 (compatible; GoogleOther)": "googleother",
}
BOTS = {
    f"{MAC} NewsBot/1.0 {ELECTRON}": "newsbot",
    "links-checker/1.0": "links-checker",
    "w3m/0.5 Googlebot/2.1": "googlebot",
    "libwww-perl/6.68": "libwww",
    "": "no-agent",
    "  ": "no-agent",
    "-": "no-agent",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/120.0.0.0 Safari/537.36": "headless",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "googlebot",
    f"Mozilla/5.0 {WEBKIT}; compatible; GPTBot/1.1; +https://openai.com/gptbot": "gptbot",
    "curl/8.5.0": "curl",
    "python-requests/2.31.0": "python-requests",
    "Yandex/1.0": "yandex",
}


@pytest.mark.parametrize("text", PEOPLE)
def test_people(text: str) -> None:
    assert parse(text) == PEOPLE[text]
    assert not CrawlerDetect().is_crawler(text)


@pytest.mark.parametrize(("text", "bot"), [*BOTS.items(), *ADDED.items()])
def test_bots(text: str, bot: str) -> None:
    assert parse(text).bot == bot


@pytest.mark.parametrize("text", [*PEOPLE_BEFORE_APPLICATIONS, *PEOPLE_IN_TERMINALS, *PEOPLE_WITH_OLD_PHONES])
def test_people_before_other_windows_than_a_browsers(text: str) -> None:
    assert parse(text).bot == ""


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
