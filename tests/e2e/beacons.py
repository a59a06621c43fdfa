"""The load of `tests.load`, sent to a tracking port: each key is a visitor on a connection of its own.

Only 202 counts as acknowledged and only 503 as refused; any other answer is an error of the test.
"""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.harness import AGENT, PATIENCE, until
from tests.e2e.ingesting import ingesting
from tests.load import Event, Figures, Load, read_kafka
from tests.patience import patient

KEY = "a-secret-key-of-this-test"
DRAINED = patient(180)
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


class Service:
    """A tracking port over a broker, and the load on it."""

    def __init__(self, load: Load, beacons: Beacons, spool: Path) -> None:
        self.load = load
        self.beacons = beacons
        self._spool = spool

    def spools(self) -> bool:
        return any(self._spool.glob("*.spool"))

    def drained(self) -> None:
        """Back when all that was acknowledged until now is in the log."""
        until(lambda: not self.spools(), "the spool is drained", DRAINED)

    def judge(self, servers: str) -> Figures:
        return self.load.judge(read_kafka(servers, TOPIC, self.beacons.decode))


@contextmanager
def under_load(folder: Path, url: str, *, spool: bool = True) -> Iterator[Service]:
    """`footfall ingest` on `url`, taking events, and with all of them in the log at the end: a broker that was away may
    turn events away once more while it comes back. Without a spool, there is no place to make one."""
    folder.mkdir()
    site = f"s{uuid.uuid4().hex[:12]}.example.com"
    sites, place = folder / "sites.toml", folder / "spool"
    sites.write_text(f'[[site]]\ndomain = "{site}"\nkey = "{KEY}"\n')
    if not spool:
        place.write_text("a file where the folder of the spool would be")
    env = {"FOOTFALL_BROKER": url, "FOOTFALL_SITES": str(sites), "FOOTFALL_SPOOL": str(place)}
    with ingesting(folder / "data", env) as ingest:
        until(ingest.ready, "the tracking port is ready")
        beacons = Beacons(ingest.address, site)
        load = Load(beacons)
        try:
            service = Service(load, beacons, place)
            with load:
                yield service
            if spool:
                service.drained()
        finally:
            beacons.close()
