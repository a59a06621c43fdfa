"""Addresses as exports have them: whole, as a path, with a route behind `#`; and referrers with or without a scheme."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlencode, urlsplit

from activity.attribution import referrer_host
from activity.url import normal_path

_NO_REFERRER = ("", "Direct / None", "(direct)", "(not set)")
_USUAL = 256  # characters of a page that is worth keeping in memory
_NO_PAGE = ("(not set)", "(other)")
_ROUTES = ("/", "!")  # how a fragment begins that is a page


def page_of(text: str) -> str:
    """Return the path of a page in normal form, without a query; "" of a text that stands for no page."""
    return _usual_page(text) if len(text) <= _USUAL else _page(text)


@lru_cache(8192)
def _usual_page(text: str) -> str:
    return _page(text)


def _page(text: str) -> str:
    if text in _NO_PAGE:
        return ""
    address, _, fragment = text.strip().partition("#")
    path = address.partition("?")[0]
    if "://" in path:
        try:
            path = urlsplit(path).path
        except ValueError:  # no address, but a path with "://" in it
            path = f"/{path}"
    path = path if path.startswith("/") else f"/{path}"
    return normal_path(f"{path}#{fragment}" if fragment.startswith(_ROUTES) else path)


def with_query(address: str, query: str) -> str:
    """Return an address with more parameters, which stand before a fragment."""
    if not query:
        return address
    before, mark, fragment = address.partition("#")
    return f"{before}{'&' if '?' in before else '?'}{query}{mark}{fragment}"


def with_tags(address: str, tags: Mapping[str, str]) -> str:
    """Return an address with the tags that have a value."""
    return with_query(address, urlencode({name: value for name, value in tags.items() if value}))


def referrer_of(text: str) -> str:
    """Return a referrer as an address, of one that may have no scheme; "" of a text that stands for none."""
    return "" if text in _NO_REFERRER else text if "://" in text else f"https://{text}"


def host_of_referrer(text: str) -> str:
    """Return the host of a referrer, which may have no scheme; "" where there is none."""
    return referrer_host(referrer_of(text)) if referrer_of(text) else ""
