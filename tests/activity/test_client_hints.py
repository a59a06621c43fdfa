"""The brands of `Sec-CH-UA` beside Chrome's agent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity import user_agent
from activity.client_hints import parse

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/137.0.0.0 Safari/537.36"
CASES = {
    '"Brave";v="137", "Chromium";v="137", "Not/A)Brand";v="24"': "Brave 137",
    '"Not)A;Brand";v="8", "Opera";v="121", "Chromium";v="137"': "Opera 121",
    '" Not A;Brand";v="99", "Chromium";v="96", "Microsoft Edge";v="96"': "Edge 96",
    '"YaBrowser";v="25.4", "Chromium";v="134", "Not:A-Brand";v="24", "Yowser";v="2.5"': "Yandex Browser 25",
    '"Google Chrome";v="137", "Chromium";v="137", "Not/A)Brand";v="24"': "Chrome 137",
    '"Chromium";v="137", "Not_A Brand";v="24"': "Chrome 137",
    '"Not?A_Brand";v="99", "Chromium";v="130"': "Chrome 137",
    '"(Not(A:Brand";v="99", "Comet";v="141", "Chromium";v="141"': "Comet 141",
    '"\\\\Not;A\\"Brand";v="99", "Google Chrome";v="85", "Chromium";v="85"': "Chrome 137",
    '"<script>";v="1"': "Chrome 137",
    '"x": 1': "Chrome 137",
    "\x00\xff": "Chrome 137",
}


@pytest.mark.parametrize("brands", CASES)
def test_a_brand_names_the_browser_behind_chromes_agent(brands: str) -> None:
    found = parse(CHROME, {b"sec-ch-ua": brands.encode("latin-1")})
    assert (f"{found.browser} {found.browser_version}", found.os, found.bot) == (CASES[brands], "Windows", "")


def test_a_headless_browser_under_another_agent_is_a_bot() -> None:
    assert parse(CHROME, {b"sec-ch-ua": b'"HeadlessChrome";v="137", "Chromium";v="137"'}).bot == "headless"


@pytest.mark.parametrize("agent", [f"{CHROME} Vivaldi/7.4", f"{CHROME} Edg/137.0.0.0", "Googlebot/2.1", ""])
def test_who_has_a_name_in_the_agent_keeps_it(agent: str) -> None:
    assert parse(agent, {b"sec-ch-ua": b'"Brave";v="137"'}) == user_agent.parse(agent)


@given(st.sampled_from([CHROME, ""]) | st.text(), st.binary(max_size=600))
def test_any_header_is_read(agent: str, brands: bytes) -> None:
    found = parse(agent, {b"sec-ch-ua": brands})
    known = user_agent.parse(agent)
    assert (found.os, found.device, found.bot or "headless") == (known.os, known.device, known.bot or "headless")
    assert parse(agent, {}) == known
