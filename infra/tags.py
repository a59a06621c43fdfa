"""Looks at a page as a browser does: which tags of the beacon it has, and whether browsers run what they name."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from selectolax.lexbor import LexborHTMLParser

from activity.url import host_of
from infra import policy
from ingest import assets
from ingest.http import is_packed, unpack

_SECONDS = 15
_LARGEST = 5_000_000  # bytes that are read of a page, or of a script
_NAME = re.compile(  # `beacon.min.js` is Cloudflare's
    rf"(.*/)?beacon(\.({'|'.join(assets.FEATURES)}|all))*(\.[0-9a-f]{{16}})?\.js([?#].*)?", re.DOTALL
)
_SCRIPT = re.compile(  # the types of scripts in the standard HTML
    r"(?:application|text)/(?:x-)?(?:java|ecma)script|text/(?:javascript1\.[0-5]|jscript|livescript)"
)
_SPACES = " \t\n\f\r"
# In a drawing or a formula elements of the same names are others, but for where HTML goes on in it.
_WANTED = (
    ":is(base[href], script[src], head > meta[http-equiv])"
    ":is(:not(svg *, math *), foreignObject > *, desc > *, title > *)"
)
_FOREIGN = "is no script of Footfall's"
_LOCAL = re.compile(r"(?:.*\.)?localhost|127\.[\d.]+|::1")  # hosts that a page by HTTPS may ask by HTTP
_BEFORE_QUERY = re.compile(r"[^?#]*")
_ESCAPED = "%/:?#[]@!$&'()*+,;=~"
_PACKINGS = {"br", "zstd", "deflate", "compress", "x-compress"}  # others are no packing: servers say `utf-8`, too
_HASH = re.compile(r"sha(256|384|512)-([A-Za-z0-9+/=]+)")


class Unread(Exception):
    """There is no page, or no script, at an address; the words say why."""


class Tag(NamedTuple):
    """A tag of the beacon in a page."""

    site: str
    src: str  # the whole address
    problem: str  # empty when there is none
    renewed: str  # the tag that works, where the problem is the tag's; else empty


def _runs(has: Mapping[str, str | None]) -> bool:
    """Whether browsers run the script of a tag. One of another type a consent manager may run later."""
    kind = has.get("type") if "type" in has else has.get("language") and f"text/{has['language']}"
    if not kind:
        return "nomodule" not in has
    kind = kind.strip(_SPACES).lower()
    return kind == "module" or (_SCRIPT.fullmatch(kind) is not None and "nomodule" not in has)


def check(page: str) -> list[Tag]:
    """Return the tags of the page at this address. Raises `Unread` if there is none to be had, or it has no tag."""
    text, page, headers = _fetch(page)
    page = _as_browsers(page)
    policies = headers.get_all("Content-Security-Policy", [])
    scripts, base = _scripts(page, text, policies)
    if not scripts:
        raise Unread(f"{page} has no tag of Footfall's; one that a tag or consent manager puts there is not seen here")
    tags = [_look(page, src, has, policies[:count], base) for src, has, count in scripts]
    # Others say a site by `data-site`, too: Fathom.
    return [tag for tag in tags if not tag.problem.endswith(_FOREIGN)] or tags


def _scripts(
    page: str, text: bytes, policies: list[str]
) -> tuple[list[tuple[str, dict[str, str | None], int]], str]:
    """The whole address and the attributes of each script tag that browsers run and that is ours, with how many of the
    policies hold for it, and the page's base: it says its site, or its script is named as ours are.

    Policies of the page itself are added to `policies`."""
    base = ""  # what counts is the first; for scripts, only for what comes after it
    found = []
    for element in LexborHTMLParser(text, encoding=True, scripting=True).css(_WANTED):
        has = element.attributes
        if element.tag == "meta":
            content = has.get("content")
            if content and (has["http-equiv"] or "").lower() == "content-security-policy":
                policies.append(content)
            continue
        if element.tag == "base":
            base = base or _joined(page, has["href"])
            continue
        has["src"] = src = (has["src"] or "").strip(_SPACES)
        if src and ("data-site" in has or _NAME.fullmatch(src)) and _runs(has):
            found.append((_joined(base or page, src), has, len(policies)))
    return found, base or page


def _look(page: str, src: str, has: Mapping[str, str | None], policies: list[str], base: str = "") -> Tag:
    site = has.get("data-site") or urlsplit(page).hostname or ""
    secure = any("upgrade-insecure-requests" in each.lower() for each in policies)
    far = not _LOCAL.fullmatch(_host(src))
    if secure:
        src = _upgraded(src)
    try:
        script, _, headers = _fetch(src, _origin(page))
    except Unread as error:
        return Tag(site, src, str(error), "")
    if b"footfall" not in script:
        return Tag(site, src, f"{src} {_FOREIGN}", "")
    refused = f"browsers do not run {src}: "
    wanted = has.get("integrity") or ""
    better = {**has, "src": assets.renamed(str(has["src"]), script)}
    problem = ""
    elsewhere = _origin(page) != _origin(src)
    if far and page.startswith("https:") and src.startswith("http:"):
        problem = f"{refused}it comes by HTTP, and the page by HTTPS"
        better["src"] = assets.renamed(src.replace("http", "https", 1), script)
    if wanted and not _is_taken(wanted, script):
        problem = problem or f"{refused}it is not what the tag's integrity says, as after an update"
        better["integrity"] = assets.integrity_of(script)
    elif better["src"] != has["src"]:
        outdated = f"{src} is outdated: it is the name of another version, and browsers ask for it again with each page"
        problem = problem or outdated
    if wanted and "crossorigin" not in has and elsewhere:
        problem = problem or f"{refused}a tag with integrity for another host needs crossorigin"
        better["crossorigin"] = "anonymous"
    if "data-site" in has and not has["data-site"]:
        problem = problem or f"what {src} sends is refused: data-site is empty"
        better["data-site"] = site
    if problem:
        return Tag(site, src, problem, _written(better))
    endpoint = _joined(base or page, has["data-endpoint"]) if has.get("data-endpoint") else _joined(src, "collect")
    endpoint = _upgraded(endpoint) if secure else endpoint
    return Tag(site, src, _refused(page, src, has, headers, policies, endpoint), "")


def _refused(
    page: str, src: str, has: Mapping[str, str | None], headers: Message, policies: list[str], endpoint: str
) -> str:
    """Why browsers do not run a script that came with these headers, or let it send nothing, where no tag helps."""
    refused, policy_has = f"browsers do not run {src}: ", "the page's Content-Security-Policy has no"
    module = (has.get("type") or "").strip(_SPACES).lower() == "module"
    strict = module or (headers.get("X-Content-Type-Options") or "").strip().lower() == "nosniff"
    kind = headers.get_content_type()
    if strict and "Content-Type" in headers and not _SCRIPT.fullmatch(kind):
        return f"{refused}it comes as {kind}, and has to as text/javascript"
    shared = (headers.get("Access-Control-Allow-Origin") or "").strip()
    if (module or "crossorigin" in has) and _origin(page) != _origin(src) and shared not in ("*", _origin(page)):
        return f"{refused}it comes from another host, without Access-Control-Allow-Origin"
    if directive := policy.refuses_script(policies, page, src, has):
        return f"{refused}{policy_has} {_origin(src)} in {directive}"
    if not _host(endpoint):
        return f"browsers send nothing: data-endpoint {endpoint[:100]!r} is no address"
    if directive := policy.refuses_sending(policies, page, endpoint):
        return f"browsers send nothing to {endpoint}: {policy_has} {_origin(endpoint)} in {directive}"
    return ""


def _origin(url: str) -> str:
    parts = urlsplit(_as_browsers(url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _is_taken(integrity: str, script: bytes) -> bool:
    """As a browser decides: by the strongest kind of hash that is there; words that are no hash do not count."""
    hashes = _HASH.findall(integrity)
    strongest = max((kind for kind, _ in hashes), default="")
    given = {digest for kind, digest in hashes if kind == strongest}
    return not given or base64.b64encode(hashlib.new(f"sha{strongest}", script).digest()).decode() in given


def _written(has: Mapping[str, str | None]) -> str:
    words = [name if value is None else f'{name}="{html.escape(value)}"' for name, value in has.items()]
    return f"<script {' '.join(words)}></script>"


def _joined(base: str, given: str | None) -> str:
    try:
        found = urljoin(base, _BEFORE_QUERY.sub(lambda path: path[0].replace("\\", "/"), given or "", count=1))
        return _as_browsers(found)
    except ValueError:
        return given or ""


def _as_browsers(url: str) -> str:
    """An address with its host in ASCII and in lower case, and without the port that its scheme has anyway.

    Raises `ValueError` if it is none."""
    parts = urlsplit(url)
    if not parts.hostname:
        return url
    user, mark, _ = parts.netloc.rpartition("@")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else _host_in_ascii(parts.hostname)
    port = "" if parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f":{parts.port}"
    return urlunsplit(parts._replace(netloc=f"{user}{mark}{host}{port}"))


def _host_in_ascii(host: str) -> str:
    """A host as browsers ask for it. Raises `ValueError` if it is none."""
    if host.isascii():
        return host
    if len(host) > 253 or not (found := host_of(host)):
        raise ValueError(f"{host[:100]!r} is no host")
    labels = found.split(".")
    return ".".join(each if each.isascii() else f"xn--{each.encode('punycode').decode()}" for each in labels)


def _upgraded(url: str) -> str:
    """An address by HTTPS, as `upgrade-insecure-requests` has it for all that is not on this machine."""
    return url.replace("http", "https", 1) if url.startswith("http:") and not _LOCAL.fullmatch(_host(url)) else url


def _host(url: str) -> str:
    try:
        return urlsplit(_as_browsers(url)).hostname or ""
    except ValueError:
        return ""


def _fetch(url: str, origin: str = "") -> tuple[bytes, str, Message]:
    """What is at an address, the address that it was found at in the end, and the headers that came with it."""
    if not url.startswith(("http://", "https://")):
        raise Unread(f"{url} is no address: it begins with http:// or https://")
    try:
        headers = {"User-Agent": "Footfall", **({"Origin": origin} if origin else {})}
        request = urllib.request.Request(_in_ascii(url), headers=headers)  # noqa: S310 - checked above
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            body = answer.read(_LARGEST)
            found, came_with = answer.url, answer.headers
    except urllib.error.HTTPError as error:
        raise Unread(f"{url} answers {error.code}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise Unread(f"{url} cannot be read: {getattr(error, 'reason', error)}") from error
    packings = {each.strip().lower() for each in ",".join(came_with.get_all("Content-Encoding", [])).split(",")}
    if is_packed(body):  # as some do, although nobody asked
        unpacked = unpack(body, _LARGEST)
        if isinstance(unpacked, bytes):
            return unpacked, found, came_with
        raise Unread(f"{url} cannot be read: {unpacked.detail}")
    if packing := ", ".join(sorted(packings & _PACKINGS)):
        raise Unread(f"{url} comes packed as {packing}, although that was not asked for, and is not read")
    return body, found, came_with


def _in_ascii(url: str) -> str:
    """An address as browsers ask for it. Raises `ValueError` if they cannot."""
    parts = urlsplit(_as_browsers(url))
    return urlunsplit((parts.scheme, parts.netloc, *(quote(part, safe=_ESCAPED) for part in parts[2:4]), ""))
