"""Looks at a page as a browser does: which tags of the beacon it has, and whether browsers run what they name."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser

from ingest import assets

_SECONDS = 15
_LARGEST = 5_000_000  # bytes that are read of a page, or of a script
_NAME = re.compile(r"(.*/)?beacon(\.[a-z]+)*(\.[0-9a-f]{16})?\.js([?#].*)?", re.DOTALL)
_SCRIPT = re.compile(  # the types of scripts in the standard HTML
    r"(?:application|text)/(?:x-)?(?:java|ecma)script|text/(?:javascript1\.[0-5]|jscript|livescript)"
)
_SPACES = " \t\n\f\r"
# In a drawing or a formula elements of the same names are others, but for where HTML goes on in it.
_BASES_AND_SCRIPTS = ":is(base[href], script[src]):is(:not(svg *, math *), foreignObject > *, desc > *, title > *)"
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
    text, page = _fetch(page)
    scripts = list(_scripts(page, text))
    if not scripts:
        raise Unread(f"{page} has no tag of Footfall's; one that a tag or consent manager puts there is not seen here")
    return [_look(page, src, has) for src, has in scripts]


def _scripts(page: str, text: bytes) -> Iterator[tuple[str, dict[str, str | None]]]:
    """The whole address and the attributes of each script tag that browsers run and that is ours: it says its site, or
    its script is named as ours are."""
    base = None  # what counts is the first, and only for what comes after it
    for element in LexborHTMLParser(text, encoding=True, scripting=True).css(_BASES_AND_SCRIPTS):
        has = element.attributes
        if element.tag == "base":
            base = base or _joined(page, has["href"])
            continue
        has["src"] = src = (has["src"] or "").strip(_SPACES)
        if src and ("data-site" in has or _NAME.fullmatch(src)) and _runs(has):
            yield _joined(base or page, src), has


def _look(page: str, src: str, has: Mapping[str, str | None]) -> Tag:
    site = has.get("data-site") or urlsplit(page).hostname or ""
    try:
        script, _ = _fetch(src)
    except Unread as error:
        return Tag(site, src, str(error), "")
    if b"footfall" not in script:
        return Tag(site, src, f"{src} is no script of Footfall's", "")
    wanted = has.get("integrity") or ""
    better = {**has, "src": assets.renamed(str(has["src"]), script)}
    problem = ""
    if wanted and not _is_taken(wanted, script):
        problem = f"browsers do not run {src}: it is not what the tag's integrity says, as after an update"
        better["integrity"] = assets.integrity_of(script)
    elif better["src"] != has["src"]:
        problem = f"{src} is outdated: it is the name of another version, and browsers ask for it again with each page"
    if wanted and "crossorigin" not in has and urlsplit(src)[:2] != urlsplit(page)[:2]:
        problem = problem or f"browsers do not run {src}: a tag with integrity for another host needs crossorigin"
        better["crossorigin"] = "anonymous"
    return Tag(site, src, problem, _written(better) if problem else "")


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
        return urljoin(base, given or "")
    except ValueError:
        return given or ""


def _fetch(url: str) -> tuple[bytes, str]:
    """What is at an address, and the address that it was found at in the end."""
    if not url.startswith(("http://", "https://")):
        raise Unread(f"{url} is no address: it begins with http:// or https://")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "Footfall"})  # noqa: S310 - checked above
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return answer.read(_LARGEST), answer.url
    except urllib.error.HTTPError as error:
        raise Unread(f"{url} answers {error.code}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise Unread(f"{url} cannot be read: {getattr(error, 'reason', error)}") from error
