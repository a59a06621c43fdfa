"""The static files of the tracking port: the beacon scripts, the pixel, and the page that says how to use them.

A script is named after what it has besides page views: `/beacon.js`, `/beacon.clicks.queue.js`, `/beacon.all.js`. Each
has a short name, which browsers check again after an hour by its ETag, and a name with its hash, which may be cached
forever. A name with the hash of another version, older or newer, gives the present script, which browsers check again
each time. An installed package contains minified scripts, packed with Brotli; a plain checkout serves the source, with
the constants replaced that the build sets.
"""

from __future__ import annotations

import base64
import gzip
import re
from functools import cache
from hashlib import blake2b, sha384
from pathlib import Path
from typing import NamedTuple

from ingest.http import Headers, Request, Response, text_response

_STATIC = Path(__file__).parent / "static"
FEATURES = ("clicks", "consent", "queue", "time", "vitals")  # in the order of a name; dashboards/web/build.mjs
_PATH = re.compile(r"/(beacon(?:\.[a-z]+)*?)(?:\.([0-9a-f]{16}))?\.js")
_MARKED = re.compile(r"^((?:[^?#]*/)?beacon(?:\.[a-z]+)*\.)[0-9a-f]{16}(?=\.js(?:[?#]|$))")
_KEPT_FOREVER = b"public, max-age=31536000, immutable"
_KEPT_FOR_AN_HOUR = b"public, max-age=3600"
_CHECKED_EACH_TIME = b"no-cache"

_LASTING = """  <script defer data-site="example.com" src="{root}{name}"
    integrity="{integrity}" crossorigin="anonymous"></script>"""

# One transparent pixel, GIF89a.
PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")

_WELCOME = """Footfall takes page views here.

Paste this into the pages of a site:
  <script defer data-site="example.com" src="{root}beacon.js"></script>
or, with a name that may be cached for ever and what browsers check it by, to be pasted anew after an update:
{lasting}
The second has everything: links out, downloads, forms, engaged time, web vitals, consent and a queue. Any of
{features} in a name adds just that: beacon.clicks.queue.js
For visitors without JavaScript:
  <noscript><img src="{root}collect.gif?site=example.com" alt="" width="1" height="1"></noscript>
A server sends events to POST {root}collect
"""


class _Asset(NamedTuple):
    plain: bytes
    packed: dict[bytes, bytes]  # by content encoding, the one that is preferred first
    mark: str
    integrity: str


@cache
def _asset(name: str) -> _Asset:
    """The script of a name whose words are those of `FEATURES` and in that order, or `all`."""
    text, brotli = _script(name)
    packed = {b"br": brotli} if brotli else {}
    packed[b"gzip"] = gzip.compress(text, 9, mtime=0)
    return _Asset(text, packed, _mark(text), integrity_of(text))


def _mark(text: bytes) -> str:
    return blake2b(text, digest_size=8).hexdigest()


def integrity_of(text: bytes) -> str:
    """Return what a browser checks these bytes by: the value of `integrity` in a tag."""
    return f"sha384-{base64.b64encode(sha384(text).digest()).decode()}"


def renamed(address: str, text: bytes) -> str:
    """Return the address or path of a script with the hash of these bytes where it has a hash, else as it is."""
    return _MARKED.sub(lambda found: found[1] + _mark(text), address)


def _name(words: list[str]) -> str | None:
    """The one name of a script with these features, or None if there is no such feature."""
    wanted = set(FEATURES) if words == ["all"] else set(words)
    if not wanted <= set(FEATURES):
        return None
    chosen = ["all"] if len(wanted) == len(FEATURES) else [word for word in FEATURES if word in wanted]
    return ".".join(["beacon", *chosen])


def built(name: str) -> bool:
    """Return whether the build has minified this script (`beacon`, `beacon.clicks.queue`, `beacon.all`)."""
    return (_STATIC / "built" / f"{name}.js").exists()


def _script(name: str) -> tuple[bytes, bytes]:
    """A script and the same by Brotli, which is empty where nothing is built."""
    if built(name):
        file = _STATIC / "built" / f"{name}.js"
        packed = file.with_name(f"{file.name}.br")
        return file.read_bytes(), packed.read_bytes() if packed.exists() else b""
    source = (_STATIC / "src" / "beacon.js").read_text(encoding="utf-8")
    words = name.split(".")
    for feature in FEATURES:
        has = "true" if feature in words or "all" in words else "false"
        source = source.replace(f"FOOTFALL_{feature.upper()}", has)
    return source.encode(), b""


def lasting_name(name: str = "beacon") -> str:
    """Return the path of a script with its hash, which may be cached forever."""
    return f"/{name}.{_asset(name).mark}.js"


def integrity(name: str = "beacon") -> str:
    """Return what a browser checks a script by: the value of `integrity` in its tag."""
    return _asset(name).integrity


def welcome(request: Request) -> Response:
    """Return the page for a person who opens the address: what is served here and how to use it."""
    host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1")
    root = f"{request.scheme}://{host}/"
    lasting = "\n".join(
        _LASTING.format(root=root, name=lasting_name(name).removeprefix("/"), integrity=integrity(name))
        for name in ("beacon", "beacon.all")
    )
    return text_response(200, _WELCOME.format(root=root, lasting=lasting, features=", ".join(FEATURES)))


def script(request: Request) -> Response:
    """Return the beacon script at the request's path, 304 if the sender has it, or 404."""
    path = _PATH.fullmatch(request.path)
    name = _name(path[1].split(".")[1:]) if path else None
    asset = _asset(name) if name else None
    if asset is None:
        hint = f"try /beacon.js, or with any of {', '.join(FEATURES)} in its name"
        return text_response(404, f"No script is at {request.path}: {hint}\n")
    fields = dict(request.headers)
    etag = f'"{asset.mark}"'.encode()
    # A page may have the tag of an older version. It is counted by this one, unless its tag says what to check it by.
    # It may be that of a newer one, which other servers give already: what we give must not be kept under its name.
    mark = path[2] if path else None
    kept = _KEPT_FOREVER if mark == asset.mark else _CHECKED_EACH_TIME if mark else _KEPT_FOR_AN_HOUR
    headers: Headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"etag", etag),
        (b"cache-control", kept),
        (b"vary", b"accept-encoding"),
        (b"access-control-allow-origin", b"*"),
        (b"cross-origin-resource-policy", b"cross-origin"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if etag in fields.get(b"if-none-match", b""):
        return Response(304, headers)
    body = asset.plain
    taken = _encodings(fields.get(b"accept-encoding", b""))
    for encoding, packed in asset.packed.items():
        if encoding in taken:
            body = packed
            headers.append((b"content-encoding", encoding))
            break
    headers.append((b"content-length", b"%d" % len(body)))
    return Response(200, headers, b"" if request.method == "HEAD" else body)


def _encodings(accepted: bytes) -> set[bytes]:
    """The content encodings of an Accept-Encoding header, without those at q=0."""
    parts = [part.replace(b" ", b"").lower().partition(b";q=") for part in accepted.split(b",")]
    return {name for name, _, weight in parts if weight.strip(b"0.") or not weight}


def pixel(headers: Headers) -> Response:
    """Return the pixel, with the same image whatever became of the event: a broken image would be visible."""
    return Response(
        200,
        [
            (b"content-type", b"image/gif"),
            (b"content-length", b"%d" % len(PIXEL)),
            (b"cache-control", b"no-store"),
            (b"cross-origin-resource-policy", b"cross-origin"),
            *headers,
        ],
        PIXEL,
    )
