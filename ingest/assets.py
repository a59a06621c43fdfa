"""The static files of the tracking port: the two beacon scripts, the pixel, and the page that says how to use them.

Each script has a short name, which browsers check again after an hour by its ETag, and a name with its hash, which may
be cached forever. An installed package contains minified scripts; a plain checkout serves the source, with the one
constant replaced that the build sets.
"""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from ingest.http import Headers, Request, Response, text_response

_STATIC = Path(__file__).parent / "static"
_SCRIPTS = {"beacon": "false", "beacon.all": "true"}

# One transparent pixel, GIF89a.
PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")

_WELCOME = """Footfall takes page views here.

Paste this into the pages of a site:
  <script defer data-site="example.com" src="{root}beacon.js"></script>
or, with a name that may be cached for ever:
  <script defer data-site="example.com" src="{root}{lasting}"></script>
For visitors without JavaScript:
  <noscript><img src="{root}collect.gif?site=example.com" alt="" width="1" height="1"></noscript>
A server sends events to POST {root}collect
"""


class _Asset(NamedTuple):
    plain: bytes
    packed: bytes
    etag: bytes
    lasting: bool


@cache
def _assets() -> dict[str, _Asset]:
    assets = {}
    for name, whole in _SCRIPTS.items():
        text = _script(name, whole)
        mark = blake2b(text, digest_size=8).hexdigest()
        packed = gzip.compress(text, 9, mtime=0)
        etag = f'"{mark}"'.encode()
        assets[f"/{name}.js"] = _Asset(text, packed, etag, lasting=False)
        assets[f"/{name}.{mark}.js"] = _Asset(text, packed, etag, lasting=True)
    return assets


def built(name: str) -> bool:
    """Return whether the build has minified this script (`beacon` or `beacon.all`)."""
    return (_STATIC / "built" / f"{name}.js").exists()


def _script(name: str, whole: str) -> bytes:
    if built(name):
        return (_STATIC / "built" / f"{name}.js").read_bytes()
    source = (_STATIC / "src" / "beacon.js").read_text(encoding="utf-8")
    return source.replace("FOOTFALL_ALL", whole).encode()


def lasting_name(name: str = "beacon") -> str:
    """Return the path of a script with its hash, which may be cached forever."""
    mark = _assets()[f"/{name}.js"].etag.decode().strip('"')
    return f"/{name}.{mark}.js"


def welcome(request: Request) -> Response:
    """Return the page for a person who opens the address: what is served here and how to use it."""
    host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1")
    root = f"{request.scheme}://{host}/"
    return text_response(200, _WELCOME.format(root=root, lasting=lasting_name().removeprefix("/")))


def script(request: Request) -> Response:
    """Return the beacon script at the request's path, 304 if the sender has it, or 404."""
    asset = _assets().get(request.path)
    if asset is None:
        return text_response(404, f"No script is at {request.path}: try /beacon.js\n")
    fields = dict(request.headers)
    headers: Headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"etag", asset.etag),
        (b"cache-control", b"public, max-age=31536000, immutable" if asset.lasting else b"public, max-age=3600"),
        (b"vary", b"accept-encoding"),
        (b"access-control-allow-origin", b"*"),
        (b"cross-origin-resource-policy", b"cross-origin"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if asset.etag in fields.get(b"if-none-match", b""):
        return Response(304, headers)
    body = asset.plain
    if b"gzip" in fields.get(b"accept-encoding", b""):
        body = asset.packed
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", b"%d" % len(body)))
    return Response(200, headers, b"" if request.method == "HEAD" else body)


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
