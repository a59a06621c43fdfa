"""A reader of server-sent events, as a browser's EventSource is one but for coming again."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.e2e.harness import AGENT, PATIENCE


class Event(NamedTuple):
    """One event; without an id it is a comment."""

    id: str
    data: str


class Watcher:
    """A stream that is open until `close`, or until the server ends it."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
        sent = {"User-Agent": AGENT, "Accept": "text/event-stream", **(headers or {})}
        self._connection.request("GET", f"{address.path}?{address.query}", headers=sent)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = {name.lower(): value for name, value in self._response.getheaders()}

    def next(self) -> Event | None:
        """The next event or comment; None once the stream has ended."""
        fields: dict[str, list[str]] = {}
        while line := self._response.readline():
            name, _, value = line.decode().rstrip("\n").partition(":")
            if not line.strip():
                return Event("".join(fields.get("id", [])), "\n".join(fields.get("data", [])))
            fields.setdefault(name, []).append(value.removeprefix(" "))
        return None

    def until(self, text: str) -> Event:
        """The first event with this text in it."""
        while (event := self.next()) is not None:
            if text in event.data:
                return event
        raise AssertionError(f"the stream ended without {text!r}")

    def rest(self) -> bytes:
        """What comes until the server ends the stream, or the whole answer if it is none."""
        return self._response.read()

    def close(self) -> None:
        """Go away."""
        self._connection.close()
        self._response.close()
