"""A page's address, taken apart and normalised so that one page is one row, and the search term in it.

The normal form is that of RFC 3986, section 6.2.2: percent-encoding in upper case and only where it is needed, dot
segments removed, scheme and host in lower case. Characters that an address may not hold (é, a space, a byte that is
not UTF-8) are percent-encoded, as browsers do but access logs, pixels and hand-written senders do not. `readable`
decodes a path again for people. The session ids that Java servers put into paths are removed. A fragment is a place on
the page and no part of it, but for those that begin with "/" or "!": a router in the browser has its pages there, so
"#/about" belongs to the path, and a query behind it to the query.

We do not use `urllib.parse` to split an address: the parser must accept everything that a browser may show (a port
out of range, a stray bracket), never keep a password, and cost about a microsecond.

`search_term` reads what a visitor searched for on the site from the parameters of the results page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, quote

import msgspec

LONGEST_URL = 4096  # characters kept of an address

_SCHEMES = frozenset(("http", "https", "file"))
_NOT_IN_HOST = frozenset(' "#%/<>?@\\^`{|}')

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DELIMITERS = frozenset("!$&'()*+,;=:@/?#")  # percent-encoding these changes what they mean
_NORMAL = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?]*")
_NOT_NORMAL = re.compile(r"%([0-9A-Fa-f]{2})|%|[^%A-Za-z0-9\-._~!$&'()*+,;=:@/?]+")
_ESCAPES = re.compile(r"(?:%[0-9A-F]{2})+")
_PLAIN_PERCENT = re.compile(r"%25(?![0-9A-Fa-f]{2})")
_SESSION = re.compile(r";jsessionid=[^/;]*", re.IGNORECASE)


class Address(msgspec.Struct, frozen=True, gc=False):
    """The parts of a page's address that an event keeps; `url` has at most 4,096 characters."""

    url: str  # in normal form, without user name and password, and without a fragment that is no route
    host: str  # lower case, without port; "" for file://
    path: str  # in normal form; starts with "/"; a route behind it: "/shop#/basket"
    query: str  # percent-encoding in normal form; without "?"; what a route has comes last


def parse(text: str) -> Address | None:
    """Returns the address of a page on the web, on localhost or in a file; None for any other text.

    Only the first 4,096 characters are read. Never raises.
    """
    text = text[:LONGEST_URL].strip()
    if not text.isprintable():
        text = "".join(char for char in text if char >= " " and char != "\x7f")
    text, _, fragment = text.partition("#")
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
    query = encoded(query)
    shown = path if slash or scheme == "file" else ""
    url = f"{scheme}://{authority}{shown}{question}{query}"
    if len(url) > LONGEST_URL:  # percent-encoding made it longer
        path = _without_dots(_cut(path, LONGEST_URL - len(scheme) - 3 - len(authority)))
        query = _cut(query, LONGEST_URL - len(scheme) - 3 - len(authority) - len(path) - 1)
        url = f"{scheme}://{authority}{path}{question if query else ''}{query}"
    if fragment.startswith(("/", "!")):
        name, _, behind = fragment.partition("#")[0].partition("?")
        route, behind = _route(name), encoded(behind)
        longer = url + (f"{route or '#/'}?{behind}" if behind else route)
        if len(longer) <= LONGEST_URL:
            joined = "&".join(part for part in (query, behind) if part)
            return Address(url=longer, host=host, path=path + route, query=joined)
    return Address(url=url, host=host, path=path, query=query)


def normal_path(path: str) -> str:
    """Returns a path, which must start with "/" and may end in a route, in normal form. Never raises."""
    if "#" in path:
        page, _, fragment = path.partition("#")
        if fragment.startswith(("/", "!")):
            return normal_path(page) + _route(fragment)
    path = encoded(path)
    if ";" in path:
        path = _SESSION.sub("", path)
    return _without_dots(path) if "/." in path else path


def readable(path: str) -> str:
    """Returns a normalised path the way people read it; `normal_path` turns the result back into the same path.

    Bytes that are not UTF-8, invisible characters, and characters that would mean something else decoded stay
    percent-encoded.
    """
    if "%" not in path:
        return path
    return _PLAIN_PERCENT.sub("%", _ESCAPES.sub(lambda run: _decoded(run.group()), path))


def host_of(authority: str) -> str:
    """Returns the host of "host", "host:8080" or "[::1]:8080", in lower case and without a final dot; "" if none."""
    if authority.startswith("["):
        host, bracket, _ = authority[1:].partition("]")
        return host.lower() if bracket and ":" in host else ""
    host = authority.partition(":")[0].lower().rstrip(".")
    return "" if _NOT_IN_HOST.intersection(host) else host


def without_www(host: str) -> str:
    """Returns the host without a leading `www.`."""
    return host.removeprefix("www.")


def parameters(query: str) -> dict[str, str]:
    """Returns the decoded parameters of a query: "+" is a space, and broken UTF-8 is replaced.

    The first of several parameters with one name wins. Parameters with a blank value are skipped.
    """
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, errors="replace"):
        if value.strip():
            found.setdefault(name, value)
    return found


def encoded(text: str) -> str:
    """Returns a part of an address with normal percent-encoding, also of the characters that it may not hold."""
    return text if _NORMAL.fullmatch(text) else _NOT_NORMAL.sub(_normal_part, text)


def _route(fragment: str) -> str:
    """The route in normal form, with its "#"; "" for "/" and "!", which routers have for the page itself."""
    return f"#{encoded(fragment)}" if fragment.strip("/!") else ""


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
    """The first `longest` characters, less a percent-encoding that the cut would break."""
    if len(text) <= longest:
        return text
    text = text[: max(longest, 0)]
    half = text.rfind("%", max(len(text) - 2, 0))
    return text if half < 0 else text[:half]


def _decoded(run: str) -> str:
    """A run of percent-encoded bytes, decoded as far as that is safe."""
    text = bytes.fromhex(run.replace("%", "")).decode("utf-8", "surrogateescape")
    return "".join(
        char
        if char.isprintable() and char != "%" and char not in _DELIMITERS
        else quote(char.encode("utf-8", "surrogateescape"), safe="")
        for char in text
    )


# The first of these that has a value wins; a site may configure its own.
SEARCH_PARAMETERS = ("q", "query", "s", "search", "searchword", "k", "keyword", "keywords")

_LONGEST_TERM = 256  # characters kept of a term


def search_term(parameters: Mapping[str, str], names: Sequence[str] = SEARCH_PARAMETERS) -> str:
    """Returns the search term among an address's decoded `parameters`, at most 256 characters; "" if there is none.

    `names` are the parameters to look at; the first with a value wins.
    """
    for name in names:
        if value := parameters.get(name):
            return tidy_term(value)
    return ""


def tidy_term(text: str) -> str:
    """Returns a term as it is stored, at most 256 characters.

    Each run of white space becomes one space, and control characters are removed.
    """
    words = " ".join(text.split())
    if not words.isprintable():
        words = "".join(char for char in words if char >= " " and char != "\x7f")
    return words[:_LONGEST_TERM].rstrip()
