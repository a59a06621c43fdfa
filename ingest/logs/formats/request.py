"""A request, as a line of a log describes it, whatever its format; and which requests are page views.

A parser of a format takes a line and returns a `Request` or `NotUnderstood`. Which requests are page views is decided
by one rule: `refusal`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from activity.url import normal_path
from ingest.logs.client import Client, address_in, whole_host

LONGEST = 65_536  # bytes of a line: servers take a few kB of each header, and a line holds three of them


class Request(NamedTuple):
    """One request, as its line describes it.

    `agent` is None where the log does not record agents, and "" where the client sent none. In `target` and
    `referrer`, a byte that is no UTF-8 is a surrogate, as `surrogateescape` makes it. `named` are hosts, with
    blanks between, that may be the page's or those of machines: where `host` is "", the first that is the site's."""

    ip: str  # canonical, see `activity.geo`
    at: int  # milliseconds UTC
    method: str
    target: str  # path and query as sent
    status: int
    referrer: str
    agent: str | None
    host: str = ""
    named: str = ""


class NotUnderstood(NamedTuple):
    """A line that is no request of its format, why, and how many of the needed parts were found all the same."""

    why: str
    found: int = 0  # of time, client, status and request: the nearest format has the most


Parser = Callable[[str], Request | NotUnderstood]

_ESCAPE = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+|\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
_ORIGIN = re.compile(r"https?://(?:[^/?#@\s]{0,260}@)?([^/?#@\s]{1,260})", re.IGNORECASE)
_USUAL_PORT = re.compile(r":(?:80|443)$")
_WITHOUT_BLANKS = re.compile(r"[^ +/]+/[^ +]+\+[^ ]*")  # an agent as IIS writes it
_MOZILLA = re.compile(r"Mozilla/[0-9.]+\+\(")
_VERSIONS = ("1.0", "1.1", "2", "3")  # as Hypercorn has them, without HTTP/
_COLOURS = re.compile(r"\x1b\[[0-9;]{0,16}m")

# What browsers fetch because of a page, and files that are no page. One list for everybody: see the README.
ASSETS = frozenset(
    [
        "7z", "apk", "asc", "atom", "avi", "avif", "bin", "bmp", "bz2", "cab", "css", "csv", "deb", "dmg",
        "doc", "docx", "dtd", "eot", "exe", "flac", "flv", "gif", "gz", "ico", "iso", "jar", "jpeg", "jpg",
        "js", "json", "jsonld", "less", "m3u8", "m4a", "m4v", "map", "md5", "mid", "mjs", "mkv", "mov",
        "mp3", "mp4", "mpeg", "mpg", "msi", "odp", "ods", "odt", "ogg", "ogv", "otf", "pdf", "pkg", "png",
        "ppt", "pptx", "ps", "rar", "rdf", "rpm", "rss", "rtf", "scss", "sha1", "sha256", "sig", "svg",
        "svgz", "swf", "tar", "tgz", "tif", "tiff", "torrent", "ttf", "txt", "wasm", "wav", "webm",
        "webmanifest", "webp", "wma", "wmv", "woff", "woff2", "xls", "xlsx", "xml", "xpi", "xsl", "xz",
        "zip", "zst"
    ]
)  # fmt: skip

# What domains do not end with: files of pages, and names of a network of somebody's own. `.ps` is Palestine.
_NO_TOP_LEVEL = (ASSETS - {"ps"}) | frozenset(
    [
        "asp", "aspx", "bak", "cfg", "cfm", "cgi", "cluster", "conf", "consul", "corp", "crt", "docker", "domain",
        "htm", "html", "ini", "internal", "intranet", "jsp", "jspx", "jsx", "key", "lan", "local", "localdomain",
        "localhost", "log", "pem", "php", "phtml", "private", "service", "shtml", "sock", "svc", "tmp", "tpl", "ts",
        "tsx", "xhtml", "yaml", "yml"
    ]
)  # fmt: skip


def request_of(
    client: Client, at: int, request: str, status: str, referrer: str | None, agent: str | None
) -> Request:
    """Make a request from the parts of a line, as they stand there; `at` is milliseconds UTC."""
    method, target = split_request(unescape(request))
    return Request(
        client.ip,
        at,
        method,
        without_origin(target),
        int(status),
        "" if referrer is None or referrer == "-" else unescape(referrer),
        None if agent is None else "" if agent == "-" else as_text(unescape(agent)),
        client.host or origin_of(target),
        client.named,
    )


def refusal(request: Request) -> str | None:
    """Return why a request is no page view (method, status or asset), None when it is one. The first match wins."""
    if request.method != "GET":
        return "method"
    if not (200 <= request.status < 300 or request.status == 304):
        return "status"
    path = normal_path(request.target.partition("?")[0])
    dot = path.rfind(".")
    if dot > path.rfind("/") and path[dot + 1 :].lower() in ASSETS:
        return "asset"
    return None


def decoded(line: bytes) -> str:
    """Decode a line, without the colours of a terminal; a byte that is no UTF-8 becomes a surrogate."""
    return without_colours(line.decode("utf-8", "surrogateescape"))


def without_colours(text: str) -> str:
    """Return a text without what programs write to colour a terminal."""
    return _COLOURS.sub("", text) if "\x1b" in text else text


def as_text(text: str) -> str:
    """Replace the surrogates that stand for bytes which are no UTF-8 by U+FFFD."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def with_blanks(agent: str, of_iis: bool) -> str:
    """Return an agent as it was sent that was written without blanks: encoded, or with `+` for them, as IIS does. Of a
    field that is not of IIS's names, only a browser's surely is so."""
    if " " in agent:
        return agent
    if "%20" in agent:
        return unquote(agent, errors="surrogateescape")
    is_so = _WITHOUT_BLANKS.fullmatch(agent) if of_iis else _MOZILLA.match(agent)
    return agent.replace("+", " ") if is_so else agent


def split_request(request: str) -> tuple[str, str]:
    """Return method and target of `GET /path HTTP/1.1`, or of a request without version. A target may hold blanks."""
    method, _, rest = request.partition(" ")
    rest = rest.strip(" ")
    target, blank, version = rest.rpartition(" ")
    is_version = blank and (version.startswith("HTTP/") or version in _VERSIONS)
    found = target.rstrip(" ") if is_version else rest
    # Amazon's gateway has the method once more in the name of a route.
    return method, found.removeprefix(f"{method} ") if found.startswith(f"{method} /") else found


def without_origin(target: str) -> str:
    """Return path and query of a target that may be an absolute address, and may lack its first slash."""
    if target.startswith("/") or target in ("", "*"):
        return target
    if origin := _ORIGIN.match(target):
        target = target[origin.end() :]
    elif "://" in target.partition("?")[0]:
        return "/" + target.partition("://")[2].partition("/")[2]
    return target if target.startswith("/") else f"/{target}"


def origin_of(target: str) -> str:
    """Return the host of a target that is an absolute address, with its port if that is an unusual one.

    "" where the target is none, and where an address stands for the host."""
    if target.startswith("/") or not (origin := _ORIGIN.match(target)):
        return ""
    host = _USUAL_PORT.sub("", origin[1]).lower()
    return as_text(host) if address_in(host) is None else ""


def site_in(field: str) -> str:
    """Return the host, without its port, of a field that names a site: `www.example.com:443`; "" of any other.

    A file's name and the name of a machine of one's own are none."""
    host = whole_host(field)
    return host if host.rpartition(".")[2] not in _NO_TOP_LEVEL else ""


def unescape(text: str) -> str:
    r"""Read what servers write for control characters, quotes and backslashes: \n, \", \\, \x0A and \xC3\xA9."""
    return text if "\\" not in text else _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[str]) -> str:
    if match.group(1) is not None:
        return _ESCAPES.get(match.group(1), match.group(1))
    return bytes.fromhex(match.group().replace("\\x", "")).decode("utf-8", "surrogateescape")
