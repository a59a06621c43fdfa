"""What a browser says of itself beside its `User-Agent`: the brands of `Sec-CH-UA`.

Browsers on Chromium send the agent of Chrome, and their own name only as a brand (Brave), or there first. They send it
unasked, so nothing has to be requested of them. Names of engines, and the nonsense that browsers put between the
brands (`Not/A)Brand`), name no browser. A brand counts where the agent is that of Chrome: whoever has a name in the
agent keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from activity import user_agent
from activity.user_agent import Agent

LONGEST = 512  # characters read of a header; real ones are shorter

_BRAND = re.compile(r'"((?:[^"\\]|\\.){1,40})" ?; ?v="?([0-9]{1,6})')
_NO_BRAND = re.compile(r"[^A-Za-z]*Not[^A-Za-z]*A[^A-Za-z]*Brand[^A-Za-z]*")
_NAME = re.compile(r"[\w .()+!-]+")
_ENGINES = frozenset(("Chromium", "Google Chrome", "Chrome"))
_BY_BRAND = {
    "Android WebView": "Chrome WebView",
    "Microsoft Edge": "Edge",
    "YaBrowser": "Yandex Browser",
    "Yandex": "Yandex Browser",
    "HuaweiBrowser": "Huawei Browser",
}
_HEADLESS = "HeadlessChrome"


def parse(agent: str, headers: Mapping[bytes, bytes]) -> Agent:
    """Return what this `User-Agent` and, where the request has it, `Sec-CH-UA` say. Never raises."""
    brands = headers.get(b"sec-ch-ua")
    if not brands:
        return user_agent.parse(agent)
    return _parse(agent[: user_agent.LONGEST], brands[:LONGEST].decode("latin-1"))


@lru_cache(maxsize=8192)
def _parse(text: str, brands: str) -> Agent:
    agent = user_agent.parse(text)
    if agent.bot or agent.browser not in ("Chrome", "Chrome WebView"):
        return agent
    versions = dict(_BRAND.findall(brands))
    if _HEADLESS in versions:
        return msgspec.structs.replace(agent, bot="headless")
    for brand, version in versions.items():
        if brand not in _ENGINES and not _NO_BRAND.fullmatch(brand) and _NAME.fullmatch(brand):
            return msgspec.structs.replace(agent, browser=_BY_BRAND.get(brand, brand), browser_version=version)
    return agent
