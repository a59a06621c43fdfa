"""A page's address, taken apart and normalised so that one page is one row.

The normal form is that of RFC 3986, section 6.2: percent-encoding in upper case and only where it is needed, dot
segments removed, scheme and host in lower case, no port that is the scheme's own. A host stands in its own letters
(bücher.example). Characters that an address may not hold (é, a space, a byte that is not UTF-8) are percent-encoded,
and a backslash is a slash, as browsers have it but access logs, pixels and hand-written senders do not. `readable`
decodes a path again for people. Session ids that servers put into paths and queries are removed, also of referrers. A
fragment is a place on the page and no part of it, but for those that begin with "/" or "!": a router in the browser has
its pages there, so "#/about" belongs to the path, and a query behind it to the query. A campaign's tags there
("#utm_source=…") belong to the query: those of senders that keep a fragment, as our beacon does not. What a login hands
back in a fragment ("#/access_token=…") is no page.

We do not use `urllib.parse` to split an address: the parser must accept everything that a browser may show (a port
out of range, a stray bracket), never keep a password, and cost about a microsecond.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv6Address
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from activity.encodings import INVISIBLE, as_texts, named

LONGEST_URL = 4096  # characters kept of an address

_SCHEMES = frozenset(("http", "https", "file"))
_NOT_IN_HOST = frozenset(' "#%/:<>?@[\\]^`{|}\u3002')

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT = frozenset("!$&'()*+,;=:@/?#%\\")  # percent-encoding these changes what they mean
_NORMAL = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?]*")
_NOT_NORMAL = re.compile(r"%([0-9A-Fa-f]{2})|%|[^%A-Za-z0-9\-._~!$&'()*+,;=:@/?]+")
_ESCAPES = re.compile(r"(?:%[0-9A-F]{2})+")
# A letter beyond ASCII of which a sender encoded the encoding, and all that it encoded so.
_TWICE = re.compile(r"%(?:25)+[c-f][0-9a-f]%(?:25)+[89ab][0-9a-f]", re.IGNORECASE)
_OVER = re.compile(r"%(?:25)+([0-9a-f]{2})", re.IGNORECASE)
_OFTEN = 8  # that the encoding of a path is undone
_PLAIN_PERCENT = re.compile(r"%25(?![0-9A-Fa-f]{2})")
# In front, before a tag, or in a value that is no address.
_ASP_SESSION = re.compile(r"/\((?:[AFSX]\([A-Za-z0-9_-]+\))+\)(?=/)")
_SECOND_QUESTION = re.compile(
    r"^\?+|\?(?=(?:utm|mtm|pk)_[a-z]+=)|(?<=[=&])([^&=/?]*)\?(?=[a-z_][a-z0-9_-]*=)", re.IGNORECASE
)
_ENCODED_PAIR = re.compile(r"(?:^|(?<=&))[^&=%]{1,64}%(25)?3D[^&=]*(?=&|$)", re.IGNORECASE)
# As sessions of PHP and forums are: digits and letters. 24 are an id of a database.
_AS_LONG = r"(?=[0-9a-z]*[0-9])(?=[0-9]*[a-z])(?:[0-9a-z]{40}|[0-9a-z]{32}|[0-9a-z]{26})"
# Of Java, PHP, ColdFusion and SAP, also with ";" encoded. `sid` is a session if it is as long as one.
_SESSION = re.compile(
    r"(?:;|%3B)(?:(?:jsession_?id[a-z]*|sessionid|phpsessid|cfid|cftoken|sap-contextid)(?:=|%3D)(?:(?!%3B)[^/;&?#])*"
    rf"|sid(?:=|%3D){_AS_LONG}(?=[/;%&?#]|$))",
    re.IGNORECASE,
)
_SESSION_PARAMETER = re.compile(
    r"(?:amp;)?(?:(?:phpsessid|jsessionid|asp\.net_sessionid|aspsessionid[a-z]*|cfid|cftoken|oscsid|zenid|xtcsid)="
    rf"|(?:force_)?sid={_AS_LONG}$|s=[0-9a-f]{{32}}$)",
    re.IGNORECASE,
)
# What a campaign's link has in its fragment, so that no server sees it; also behind the name of a place on the page.
_TAG = re.compile(r"(?:utm|mtm|matomo|pk|piwik)_[a-z_]+=", re.IGNORECASE)
_TAGGED = re.compile(rf"(?:[\w.-]{{0,100}}\?|0?38;|x26;)?({_TAG.pattern}.*)", re.IGNORECASE | re.DOTALL)
_AND = re.compile(r"&#(?:0{0,4}38|x0{0,4}26);", re.IGNORECASE)  # of an address copied out of HTML; else a fragment
_AND_IN_HTML = re.compile(r"&(?:amp;)?")
_AROUND_PATH = re.compile(r"([^/?#\\]*[/\\]{2})?([^/?#\\]*)([^?#]*)(.*)", re.DOTALL)  # of any text
# What OAuth and OpenID Connect put into a fragment; a router may have put its "/" before it. The words that others use,
# too, tell it only beside one another.
_LOGIN = re.compile(
    r"[/!]*(?:[a-z_]{1,20}=[^&]*&){0,8}(?:access_token|id_token|refresh_token|session_state|error_description)="
    r"|[/!]*(?:token_type|expires_in|scope|state|code|iss|error)=[^&]*&(?:token_type|expires_in|scope|state|code|iss)="
)
_IS_WEB = re.compile(r"(?:https?|android-app)://", re.IGNORECASE).match
_LONGEST_HOST = 253  # characters, as DNS has it
_OWN_PORTS = {"http": "80", "https": "443"}


class Address(msgspec.Struct, frozen=True, gc=False):
    """The parts of a page's address that an event keeps; `url` has at most 4,096 characters."""

    url: str  # in normal form, without user name and password, and without a fragment that is no route
    host: str  # lower case, in its own letters, without port; "" for file://
    path: str  # in normal form; starts with "/"; a route behind it: "/shop#/basket"
    query: str  # percent-encoding in normal form; without "?"; what a route has comes last


def parse(text: str) -> Address | None:
    """Returns the address of a page on the web, on localhost or in a file; None for any other text.

    Only the first 4,096 characters are read. Never raises.
    """
    text = text[:LONGEST_URL].strip()
    if not text.isprintable():
        text = "".join(char for char in text if char >= " " and char != "\x7f")
    if "&#" in text:
        text = _AND.sub("&", text)
    text, _, fragment = text.partition("#")
    if "\\" in text:
        text, question, query = text.partition("?")
        text = text.replace("\\", "/") + question + query
    scheme, mark, rest = text.strip().partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in _SCHEMES:
        return None
    before, question, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    if scheme == "file":
        host = ""
    else:
        authority = authority.rpartition("@")[2].lower()
        host = in_letters(host_of(authority))
        if not host:
            return None
        if authority != host:
            authority = _authority(host, authority, _OWN_PORTS[scheme])
    path = normal_path(f"/{path}")
    if query:
        query = _without_parameters(encoded(query))
        question = "?" if query else ""
    shown = path if slash or scheme == "file" else ""
    url = f"{scheme}://{authority}{shown}{question}{query}"
    if len(url) > LONGEST_URL:  # percent-encoding made it longer
        path = _without_dots(_cut(path, LONGEST_URL - len(scheme) - 3 - len(authority)))
        query = _cut(query, LONGEST_URL - len(scheme) - 3 - len(authority) - len(path) - 1)
        url = f"{scheme}://{authority}{path}{question if query else ''}{query}"
    if fragment.startswith(("/", "!")):
        name, _, behind = fragment.partition("#")[0].partition(":~:")[0].partition("?")
        route, behind = _route(name), _without_parameters(encoded(behind))
        longer = url + (f"{route or '#/'}?{behind}" if behind else route)
        if len(longer) <= LONGEST_URL:
            joined = "&".join(part for part in (query, behind) if part)
            return Address(url=longer, host=host, path=path + route, query=joined)
    elif "_" in fragment and (tagged := _TAGGED.match(fragment)):
        tags = [tag for tag in _AND_IN_HTML.split(encoded(tagged[1].partition(":~:")[0])) if _TAG.match(tag)]
        joined = "&".join([query, *tags] if query else tags)
        longer = f"{scheme}://{authority}{shown}?{joined}"
        if len(longer) <= LONGEST_URL:
            return Address(url=longer, host=host, path=path, query=joined)
    return Address(url=url, host=host, path=path, query=query)


def normal_path(path: str) -> str:
    """Returns a path, which must start with "/" and may end in a route, in normal form. Never raises."""
    if "#" in path:
        page, _, fragment = path.partition("#")
        if fragment.startswith(("/", "!")):
            return normal_path(page) + _route(fragment)
    path = _without_ids(_once(encoded(path.replace("\\", "/"))))
    return _without_dots(path) if "/." in path else path


def readable(path: str) -> str:
    """Returns a normalised path the way people read it; `normal_path` turns the result back into the same path.

    Bytes that are not UTF-8, invisible characters, and characters that would mean something else decoded stay
    percent-encoded.
    """
    if "%" not in path:
        return path
    return _PLAIN_PERCENT.sub("%", _ESCAPES.sub(lambda run: _decoded(run.group()), path))


def without_session_ids(address: str) -> str:
    """Returns an address as it was sent, but without session ids, user name and password, at most 4,096 characters.

    One that was encoded as a whole is decoded, for they are in it, too. A path or query that had a session id is
    returned in normal percent-encoding. Never raises.
    """
    if "%" in address and "://" not in address[:LONGEST_URL] and _IS_WEB(written := as_browsers_write(address)):
        address = "".join(char for char in written if char.isprintable())
    if not ("(" in address or "@" in address or _may_have_ids(address)):
        return address[:LONGEST_URL]
    scheme, authority, path, rest = _AROUND_PATH.findall(address)[0]
    query, mark, fragment = rest.removeprefix("?").partition("#")
    if scheme:
        authority = authority.rpartition("@")[2]
    if (kept := _without_ids(sent := encoded(path))) != sent:
        path = kept
    if (kept := _without_parameters(sent := encoded(query))) != sent:
        query, rest = kept, "?" if kept else ""
    question = "?" if rest.startswith("?") else ""
    return _cut(scheme + authority + path + question + query + mark + fragment, LONGEST_URL)


def as_browsers_write(referrer: str) -> str:
    """Returns a referrer without what hand-written senders and servers put around it, or made of it
    ("https%3A%2F%2F…")."""
    text = referrer[:LONGEST_URL].strip(" \t\r\n\"'<>").replace("\\", "/")
    return text if "://" in text else unquote(text)


def host_of(authority: str) -> str:
    """Returns the host of "host", "host:8080" or "[::1]:8080", in lower case and without a final dot; "" if none.

    A host that was percent-encoded, or has letters in another form of Unicode, is spelled as browsers spell it."""
    if authority.startswith("["):
        host, bracket, _ = authority[1:].partition("]")
        return _ipv6(host.lower()) if bracket and ":" in host else ""
    host = authority.partition(":")[0].lower()
    if "%" in host:
        host = unquote(host, errors="surrogateescape").lower()
    if not host.isascii() and len(host) <= _LONGEST_HOST:
        host = INVISIBLE.sub("", unicodedata.normalize("NFKC", host).lower()).replace("\u3002", ".")
    host = host.rstrip(".")
    return "" if _NOT_IN_HOST.intersection(host) or not host.isprintable() else host


def in_letters(host: str) -> str:
    """Returns the host of which "xn--…" is what browsers send; the text itself if it is none."""
    if "xn--" not in host or len(host) > _LONGEST_HOST:
        return host
    return ".".join(map(_label, host.split(".")))


def _label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        letters = label[4:].encode("ascii").decode("punycode")
        if letters.isascii() or letters.encode("punycode") != label[4:].encode():
            return label
    except UnicodeError:
        return label
    is_one = letters.isprintable() and letters == unicodedata.normalize("NFKC", letters.lower())
    return letters if is_one and "." not in letters and not _NOT_IN_HOST.intersection(letters) else label


def _ipv6(host: str) -> str:
    try:
        return str(IPv6Address(host))
    except ValueError:
        return host


def without_www(host: str) -> str:
    """Returns the host without a leading `www.`."""
    return host.removeprefix("www.")


def parameters(query: str) -> dict[str, str]:
    """Returns the decoded parameters of a query: "+" is a space, and bytes that are not UTF-8 are read by `encodings`.

    The first of several parameters with one name wins. Parameters with a blank value are skipped. A tool that puts tags
    behind an address which has a query already may have written "?" for "&", or encoded what it put there.
    """
    found: dict[str, str] = {}
    if "?" in query:
        query = _SECOND_QUESTION.sub(r"\1&", query)
    if "3D" in query or "3d" in query:
        query = _ENCODED_PAIR.sub(_pair, query)
    pairs = parse_qsl(query, errors="surrogateescape")
    codec = "" if "%" not in query or all(value.isascii() for _, value in pairs) else named(pairs)
    texts = iter(as_texts([text for pair in pairs for text in pair], codec))
    for name, value in zip(texts, texts, strict=True):
        if value.strip():
            found.setdefault(name, value)
    return found


def _pair(part: re.Match[str]) -> str:
    """A parameter without the encoding of its "=", be that once or twice, and of all with it."""
    return unquote(part[0].replace("%25", "%") if part[1] else part[0], errors="surrogateescape")


def encoded(text: str) -> str:
    """Returns a part of an address with normal percent-encoding, also of the characters that it may not hold."""
    return text if _NORMAL.fullmatch(text) else _NOT_NORMAL.sub(_normal_part, text)


def _once(path: str) -> str:
    for _ in range(_OFTEN):
        if "%25" not in path or not _TWICE.search(path):
            return path
        path = encoded(_OVER.sub(r"%\1", path))
    return path


def _route(fragment: str) -> str:
    """The route in normal form, with its "#"; "" for "/" and "!", which routers have for the page itself."""
    route = _without_ids(_once(encoded(fragment)))
    return f"#{route}" if route.strip("/!") and not _LOGIN.match(route) else ""


def _authority(host: str, authority: str, own_port: str) -> str:
    """The host and its port, if that is not the scheme's own."""
    port = authority.rpartition("]")[2].partition(":")[2]
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port not in ("", own_port) else shown


def _without_parameters(query: str) -> str:
    """A query in normal form without the session ids in it."""
    if not _may_have_ids(query):
        return query
    parts = _SESSION.sub("", query).split("&")
    return "&".join(part for part in parts if not _SESSION_PARAMETER.match(part))


def _may_have_ids(text: str) -> bool:
    text = text.lower()  # half the time of a pattern
    return (
        ";" in text or "%3b" in text or "sess" in text or "sid=" in text or "cfid" in text or "cftoken" in text
        or "zenid" in text or ("s=" in text and len(text) > 33)
    )  # fmt: skip


def _without_ids(path: str) -> str:
    if ";" in path or "%3B" in path:
        path = _SESSION.sub("", path)
    return _ASP_SESSION.sub("", path) if "(" in path else path


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
        if char.isprintable() and char not in _KEPT
        else quote(char.encode("utf-8", "surrogateescape"), safe="")
        for char in text
    )
