"""The load of `tests.load`, sent to a tracking port: each key is a visitor on a connection of its own.

Only 202 counts as acknowledged and only 503 as refused; any other answer is an error of the test.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.harness import AGENT, PATIENCE
from tests.load import Event

KEY = "a-secret-key-of-this-test"
TOPIC = "footfall.pageview"


class Beacons:
    """Callable as a `tests.load.Send`, for one event at a time."""

    def __init__(self, address: str, site: str) -> None:
        self._address = urlsplit(address)
        self._site = site
        self._connections: dict[int, http.client.HTTPConnection] = {}

    def __call__(self, key: int, numbers: Sequence[int]) -> int:
        (number,) = numbers
        event = {
            "site": self._site,
            "type": "pageview",
            "url": f"https://{self._site}/{key}/{number}",
            "visitor": f"visitor-{key}",
            "id": f"{key}-{number}",
        }
        headers = {"User-Agent": AGENT, "Authorization": f"Bearer {KEY}"}
        connection = self._connections.get(key)
        if connection is None:
            assert self._address.hostname
            connection = http.client.HTTPConnection(self._address.hostname, self._address.port, timeout=PATIENCE)
            self._connections[key] = connection
        connection.request("POST", "/collect", json.dumps(event).encode(), headers)
        response = connection.getresponse()
        body = response.read()
        if response.status == 503:
            assert response.getheader("Retry-After"), body
            return 0
        assert response.status == 202, body
        return 1

    def decode(self, message: Any) -> Event | None:
        """A Kafka message of the page view topic; None when it is another site's."""
        if not message.key().startswith(f"{self._site}/".encode()):
            return None
        event = json.loads(message.value())
        key, number = event["path"].strip("/").split("/")
        return Event(int(key), int(number), event["id"])

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
