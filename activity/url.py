"""A page's address, taken apart and brought into one normal form, so that one page is one row.

The form is that of RFC 3986, section 6.2.2: percent-encoding in upper case and only where it is needed, dot segments
removed, scheme and host in lower case. What may not stand in an address (é, a blank, a byte that is no UTF-8) is
percent-encoded, as browsers do; access logs, pixels and hand-written senders do not. `readable` is the way back, for
people. A session id that Java servers put into the path is no part of the page.

Written out rather than left to `urllib.parse`: it must refuse nothing that a browser may show (a port out of
range, a stray bracket), never keep a password, and cost about a microsecond.

What a visitor searched for on the site itself, read from the address of the results page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, quote

import msgspec

LONGEST_URL = 4096  # characters of an address that are kept

_SCHEMES = frozenset(("http", "https", "file"))
_NOT_IN_HOST = frozenset(' "#%/<>?@\\^`{|}')

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DELIMITERS = frozenset("!$&'()*+,;=:@/?#")  # these mean something else when they are percent-encoded
_NORMAL = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?]*")
_NOT_NORMAL = re.compile(r"%([0-9A-Fa-f]{2})|%|[^%A-Za-z0-9\-._~!$&'()*+,;=:@/?]+")
_ESCAPES = re.compile(r"(?:%[0-9A-F]{2})+")
_PLAIN_PERCENT = re.compile(r"%25(?![0-9A-Fa-f]{2})")
_SESSION = re.compile(r";jsessionid=[^/;]*", re.IGNORECASE)


class Address(msgspec.Struct, frozen=True, gc=False):
    url: str  # in normal form, without fragment, user name and password
    host: str  # lower case, without port; "" for file://
    path: str  # in normal form; starts with "/"
    query: str  # percent-encoding in normal form; without "?"


def parse(text: str) -> Address | None:
    """The address of a page on the web, on localhost or in a file; None for anything else. Never raises."""
    text = text[:LONGEST_URL].strip()
    if not text.isprintable():
        text = "".join(char for char in text if char >= " " and char != "\x7f")
    text = text.partition("#")[0]
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in _SCHEMES:
        return None
    before, question, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    if scheme == "file":
        host = ""
    else:
        authority = authority.rpartition("@")[2].lower()
        host = host_of(authority)
        if not host:
            return None
    path = normal_path(f"/{path}")
    query = _normal(query)
    shown = path if slash or scheme == "file" else ""
    url = f"{scheme}://{authority}{shown}{question}{query}"
    if len(url) > LONGEST_URL:  # percent-encoding made it longer
        path = _without_dots(_cut(path, LONGEST_URL - len(scheme) - 3 - len(authority)))
        query = _cut(query, LONGEST_URL - len(scheme) - 3 - len(authority) - len(path) - 1)
        url = f"{scheme}://{authority}{path}{question if query else ''}{query}"
    return Address(url=url, host=host, path=path, query=query)


def normal_path(path: str) -> str:
    """A path (it starts with "/") in normal form."""
    path = _normal(path)
    if ";" in path:
        path = _SESSION.sub("", path)
    return _without_dots(path) if "/." in path else path


def readable(path: str) -> str:
    """A path in normal form as people read it: `normal_path` gives the same again. What is no UTF-8, cannot be seen,
    or would mean something else decoded stays percent-encoded."""
    if "%" not in path:
        return path
    return _PLAIN_PERCENT.sub("%", _ESCAPES.sub(lambda run: _decoded(run.group()), path))


def host_of(authority: str) -> str:
    """The host of "host", "host:8080" or "[::1]:8080", in lower case and without a last dot; "" if none."""
    if authority.startswith("["):
        host, bracket, _ = authority[1:].partition("]")
        return host.lower() if bracket and ":" in host else ""
    host = authority.partition(":")[0].lower().rstrip(".")
    return "" if _NOT_IN_HOST.intersection(host) else host


def without_www(host: str) -> str:
    return host.removeprefix("www.")


def parameters(query: str) -> dict[str, str]:
    """The query's parameters, decoded ("+" is a space, broken UTF-8 is replaced); of several of one name the
    first. Those with an empty value are left out."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, errors="replace"):
        if value.strip():
            found.setdefault(name, value)
    return found


def _normal(text: str) -> str:
    """Percent-encoding in normal form; characters that may not stand in an address are encoded."""
    return text if _NORMAL.fullmatch(text) else _NOT_NORMAL.sub(_normal_part, text)


def _normal_part(match: re.Match[str]) -> str:
    digits = match[1]
    if digits is None:
        return quote(match[0], safe="", errors="surrogatepass")
    char = chr(int(digits, 16))
    return char if char in _UNRESERVED else f"%{digits.upper()}"


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _cut(text: str, longest: int) -> str:
    """The first characters, without the half of a percent-encoding at the end."""
    if len(text) <= longest:
        return text
    text = text[: max(longest, 0)]
    half = text.rfind("%", max(len(text) - 2, 0))
    return text if half < 0 else text[:half]


def _decoded(run: str) -> str:
    """A run of percent-encoded bytes with everything decoded that may be."""
    text = bytes.fromhex(run.replace("%", "")).decode("utf-8", "surrogateescape")
    return "".join(
        char
        if char.isprintable() and char != "%" and char not in _DELIMITERS
        else quote(char.encode("utf-8", "surrogateescape"), safe="")
        for char in text
    )


# In this order, the first that is there with a value wins; a site may name its own.
SEARCH_PARAMETERS = ("q", "query", "s", "search", "searchword", "k", "keyword", "keywords")

_LONGEST_TERM = 256  # characters of a term that are kept


def search_term(parameters: Mapping[str, str], names: Sequence[str] = SEARCH_PARAMETERS) -> str:
    """The search term among an address's decoded `parameters`; "" when there is none."""
    for name in names:
        if value := parameters.get(name):
            return tidy_term(value)
    return ""


def tidy_term(text: str) -> str:
    """A term as it is kept: each run of white space is one space; control characters are gone."""
    words = " ".join(text.split())
    if not words.isprintable():
        words = "".join(char for char in words if char >= " " and char != "\x7f")
    return words[:_LONGEST_TERM].rstrip()
