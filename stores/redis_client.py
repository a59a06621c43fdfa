"""A Redis client by URL, whose waits are bounded and whose failures speak our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from stores.base import Unreachable, Unusable
from stores.location import shown, spelled


class Connection:
    """`client` and the `prefix` of every key."""

    def __init__(self, url: str, patience: float | None = None) -> None:
        """Who has only so much `patience`, in seconds, asks once; else a question has 5 and is repeated as the
        client sees fit."""
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ModuleNotFoundError as missing:
            raise Unusable("redis:// needs the package redis: pip install 'footfall[redis]'") from missing
        parts = urlsplit(url)
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.prefix = options.pop("prefix", "footfall:")
        if options:
            raise Unusable(f"{shown(url)}: unknown option {', '.join(sorted(options))}; known: prefix")
        self.shown = shown(url)
        self._errors: tuple[type[Exception], ...] = (redis.ConnectionError, redis.TimeoutError)
        self.errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        seconds = 5 if patience is None else patience
        # A connection that a restart broke is made anew; nothing that was too slow is waited for again.
        once = {"retry": Retry(NoBackoff(), 1, (redis.ConnectionError,))} if patience is not None else {}
        try:
            self.client: Any = redis.Redis.from_url(
                spelled(parts.scheme, parts.netloc, parts.path),
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                **once,
            )
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
