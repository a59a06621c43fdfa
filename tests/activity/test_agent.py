"""Agents of people and of bots. The bot verdict is crawlerdetect's own, reached faster."""

from __future__ import annotations

import pytest
from crawlerdetect import CrawlerDetect
from hypothesis import given
from hypothesis import strategies as st

from activity.agent import Agent, data_version, parse

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
BOTS = {
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


@pytest.mark.parametrize("text", BOTS)
def test_bots(text: str) -> None:
    assert parse(text).bot == BOTS[text]


@given(st.lists(st.sampled_from([*PEOPLE, *BOTS]) | st.text(max_size=20), min_size=1, max_size=3).map(" ".join))
def test_the_verdict_on_bots_is_crawlerdetects(text: str) -> None:
    verdict = CrawlerDetect().is_crawler(text[:512])
    found = parse(text).bot
    assert found or not verdict
    assert verdict or not found or found in ("no-agent", "headless") or parse(text).browser


def test_a_monstrous_agent_is_cut() -> None:
    assert parse("Mozilla/5.0 " + "x" * 1_000_000) == parse("Mozilla/5.0 " + "x" * 600)


def test_the_versions_of_the_data_are_told() -> None:
    assert data_version().startswith("ua=2")
    assert "bots=0." in data_version()
