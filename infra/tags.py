"""Looks at a page as a browser does: which tags of the beacon it has, and whether browsers run what they name."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from html.parser import HTMLParser
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from ingest import assets

_SECONDS = 15
_LARGEST = 5_000_000  # bytes that are read of a page, or of a script
_NAME = re.compile(r"(.*/)?beacon(\.[a-z]+)*(\.[0-9a-f]{16})?\.js([?#].*)?", re.DOTALL)
_SCRIPT = re.compile(  # the types of scripts in the standard HTML
    r"(?:application|text)/(?:x-)?(?:java|ecma)script|text/(?:javascript1\.[0-5]|jscript|livescript)"
)
_SPACES = " \t\n\f\r"
# What is in these is text where scripts run.
_TEXTS = frozenset(("iframe", "noembed", "noframes", "noscript", "style", "textarea", "title", "xmp"))
_DRAWINGS = frozenset(("math", "svg"))  # elements in them have the same names and are others
# Where browsers end a comment and the parser of older Pythons does not, or the other way round.
_COMMENT_END = re.compile(r"<!---?>|(?<!<!)(?<!<!-)--(?:!>|(?=\s+>))")
_MEANT = {"--!>": "-->", "--": "- -"}
_HASH = re.compile(r"sha(256|384|512)-([A-Za-z0-9+/=]+)")


class Unread(Exception):
    """There is no page, or no script, at an address; the words say why."""


class Tag(NamedTuple):
    """A tag of the beacon in a page."""

    site: str
    src: str  # the whole address
    problem: str  # empty when there is none
    renewed: str  # the tag that works, where the problem is the tag's; else empty


class _Scripts(HTMLParser):
    """The attributes of each script tag that browsers run and that is ours: it says its site, or its script is named as
    ours are. With each, what its address is relative to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._page = page
        self._base: str | None = None
        self._templates = 0  # that we are in
        self._drawings = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has: dict[str, str | None] = {}
        for name, value in attrs:
            has.setdefault(name, value)  # of a name that is there twice, the first counts
        if tag in _TEXTS and not self._drawings:
            self.set_cdata_mode(tag)
        elif tag in _DRAWINGS:
            self._drawings += 1
        elif tag == "template":
            self._templates += 1
        elif self._templates:
            pass
        elif tag == "base" and "href" in has and self._base is None:
            self._base = _joined(self._page, has["href"])
        elif tag == "script" and _runs(has):
            has["src"] = src = (has.get("src") or "").strip(_SPACES)
            if src and ("data-site" in has or _NAME.fullmatch(src)):
                self.found.append((self._base or self._page, has))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # the slash at its end means something in a drawing only
        if tag in _DRAWINGS:
            self.handle_endtag(tag)
        elif tag == "script" and not self._drawings:
            self.set_cdata_mode(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DRAWINGS:
            self._drawings = max(self._drawings - 1, 0)
        elif tag == "template":
            self._templates = max(self._templates - 1, 0)


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
    scripts = _Scripts(page)
    scripts.feed(_as_browsers_read(text.decode(errors="replace")))
    if not scripts.found:
        raise Unread(f"{page} has no tag of Footfall's; one that a tag or consent manager puts there is not seen here")
    return [_look(page, _joined(base, str(has["src"])), has) for base, has in scripts.found]


def _as_browsers_read(text: str) -> str:
    """The page with what Python's parser reads otherwise than browsers, which pass over `<!` and `<?` to the next >."""
    return _COMMENT_END.sub(lambda found: _MEANT.get(found[0], "<!---->"), text.replace("<![", "<?["))


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
