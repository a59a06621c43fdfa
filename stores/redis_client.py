"""A Redis client by URL, whose waits are bounded and whose failures speak our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from stores.base import Unreachable, Unusable
from stores.location import shown, spelled


class Connection:
    """`client`, the `prefix` of every key, and what else the URL's options say."""

    def __init__(self, url: str, known_options: tuple[str, ...] = ()) -> None:
        try:
            import redis
        except ModuleNotFoundError as missing:
            raise Unusable("redis:// needs the package redis: pip install 'footfall[redis]'") from missing
        parts = urlsplit(url)
        self.options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.prefix = self.options.pop("prefix", "footfall:")
        unknown = self.options.keys() - set(known_options)
        if unknown:
            raise Unusable(
                f"{shown(url)}: unknown option {', '.join(sorted(unknown))}; known: prefix, {', '.join(known_options)}"
            )
        self.shown = shown(url)
        self.bare_url = spelled(parts.scheme, parts.netloc, parts.path)
        self._errors: tuple[type[Exception], ...] = (redis.ConnectionError, redis.TimeoutError)
        try:
            self.client: Any = redis.Redis.from_url(self.bare_url, socket_timeout=5, socket_connect_timeout=5)
        except ValueError as error:
            raise Unusable(f"{self.shown}: {error}; give redis://host:6379/0") from error

    @contextmanager
    def speaking(self) -> Iterator[Any]:
        """The client; who cannot be reached is `Unreachable`."""
        try:
            yield self.client
        except self._errors as error:
            raise Unreachable(f"Redis at {self.shown} does not answer ({error}); is it running? Retry later") from error

    def close(self) -> None:
        self.client.close()
