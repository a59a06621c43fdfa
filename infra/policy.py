"""Whether a page's Content Security Policy lets a script run and send, as browsers decide it (CSP level 3, 6.7.2).

Policies are the values of `Content-Security-Policy`, by header or by `<meta>`: each has to allow it. What a page only
has reported is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])"
    r"(?::(?P<port>0*[0-9]{1,5}|\*))?(?P<path>/[^?#]*)?(?:[?#].*)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_HASH = re.compile(r"'?(sha(?:256|384|512)-[A-Za-z0-9+/_-]+=*)'?")
_RUNS = ("script-src-elem", "script-src", "default-src")
_SENDS = ("connect-src", "default-src")


def refuses_script(policies: Sequence[str], page: str, src: str, has: Mapping[str, str | None]) -> str:
    """Return the directive by which a browser does not load a script in the page, or "". `has` are its tag's
    attributes."""
    for name, sources in _directives(policies, _RUNS):
        words = {source.lower() for source in sources}
        nonce = has.get("nonce")
        if nonce and f"'nonce-{nonce}'" in sources:
            continue
        hashes = _HASH.findall(has.get("integrity") or "")
        if hashes and {*hashes} <= {found for source in sources for found in _HASH.findall(source)}:
            continue
        if "'strict-dynamic'" in words or not _takes(sources, page, src):
            return name
    return ""


def refuses_sending(policies: Sequence[str], page: str, endpoint: str) -> str:
    """Return the directive by which a browser sends no event from the page to the endpoint, or ""."""
    found = _directives(policies, _SENDS)
    return next((name for name, sources in found if not _takes(sources, page, endpoint)), "")


def _directives(policies: Sequence[str], names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Of each policy the first of these directives that it has, with its sources."""
    found = []
    for policy in (each for listed in policies for each in listed.split(",")):
        has: dict[str, list[str]] = {}
        for directive in policy.split(";"):
            name, *sources = directive.split() or [""]
            has.setdefault(name.lower(), sources)
        found += [(name, has[name]) for name in names if name in has][:1]
    return found


def _takes(sources: Sequence[str], page: str, url: str) -> bool:
    try:
        own, target = urlsplit(page), urlsplit(url)
    except ValueError:
        return False  # no browser asks for it
    return any(_matches(source, own, target) for source in sources)


def _matches(source: str, own: SplitResult, target: SplitResult) -> bool:
    """Whether a source of a directive is that of the address. A page by http may load by https what is listed."""
    if source == "*":
        return target.scheme in ("http", "https", own.scheme)
    if source.lower() == "'self'":
        ports = _port(own), _port(target)
        near = own.hostname == target.hostname and (ports[0] == ports[1] or ports == (80, 443))
        return near and _by(own.scheme, target)
    if scheme := _SCHEME.fullmatch(source):
        return _by(scheme[1].lower(), target)
    listed = _HOST.fullmatch(source)
    if listed is None or not _by((listed["scheme"] or own.scheme).lower(), target):
        return False
    host, name = listed["host"].lower(), target.hostname or ""
    if host != "*" and not (name.endswith(host[1:]) if host.startswith("*.") else name == host.strip("[]")):
        return False
    port = int(listed["port"] or _PORTS.get(target.scheme, 0)) if listed["port"] != "*" else _port(target)
    if port != _port(target) and (port, _port(target)) != (80, 443):
        return False
    path = unquote(listed["path"] or "")
    asked = unquote(target.path) or "/"
    return not path or (asked.startswith(path) if path.endswith("/") else asked == path)


def _by(scheme: str, target: SplitResult) -> bool:
    return target.scheme == scheme or (scheme, target.scheme) == ("http", "https")


def _port(address: SplitResult) -> int:
    try:
        return address.port or _PORTS.get(address.scheme, 0)
    except ValueError:
        return 0
