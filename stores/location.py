"""URLs of stores: a folder, or a bucket with a prefix; and how a URL is shown without its secrets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from stores.base import Unusable


@dataclass(frozen=True)
class Location:
    """`scheme` is `file` for a plain path; `options` are the URL's query, each given once."""

    scheme: str
    host: str
    path: str
    options: dict[str, str]
    shown: str

    @property
    def folder(self) -> Path:
        return Path(self.path)

    def below(self, name: str) -> str:
        """The URL of a place within this one."""
        path = quote(f"{self.path.rstrip('/')}/{name}")
        return spelled(self.scheme, self.host, path, urlencode(self.options))


def parse(url: str | os.PathLike[str]) -> Location:
    text = os.fspath(url)
    if "://" not in text:
        if not text:
            raise Unusable("an empty URL names no store: give a folder, as in /var/lib/footfall")
        path = str(Path(text).absolute())
        return Location("file", "", path, {}, path)
    parts = urlsplit(text)
    options = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise Unusable(f"{text}: a folder's URL has three slashes, as in file:///{parts.netloc}{parts.path}")
    return Location(parts.scheme, parts.netloc, unquote(parts.path), options, shown(text))


def shown(url: str) -> str:
    """The URL as it may be printed: without a password, and without the values of secret options."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if at and ":" in user:
        user = user.partition(":")[0] + ":***"
    query = "&".join(
        f"{name}=***" if any(word in name.lower() for word in ("secret", "password", "token", "key")) else pair
        for pair in parts.query.split("&")
        for name in [pair.partition("=")[0]]
    )
    return spelled(parts.scheme, user + at + host, parts.path, query)


def spelled(scheme: str, netloc: str, path: str, query: str = "") -> str:
    """The URL of these parts, with the two slashes also where nothing stands between the second and the path."""
    return f"{scheme}://{netloc}{path}" + (f"?{query}" if query else "")
