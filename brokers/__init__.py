"""Brokers, interchangeable by URL.

`connect("kafka://h:9092")` finds the adapter by the URL's scheme and imports it only then, so that a laptop
on SQLite never loads a Kafka client. Third parties add a scheme by an entry point in the group
`footfall.brokers` (see `brokers.conformance` for the suite such an adapter has to pass); the adapters of this
project are listed here too, so that a plain checkout works without being installed.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import urlsplit

from brokers.base import Broker, BrokerError

GROUP = "footfall.brokers"

# scheme -> (factory, what to install when its client is missing). A factory takes (url, secrets).
BUILTIN: dict[str, tuple[str, str]] = {
    "memory": ("brokers.memory:MemoryBroker", "footfall"),
    "sqlite": ("brokers.embedded:SqliteBroker", "footfall"),
    "kafka": ("brokers.kafka:connect", "footfall[kafka]"),
    "redpanda": ("brokers.kafka:connect", "footfall[kafka]"),
    "warpstream": ("brokers.kafka:connect", "footfall[kafka]"),
    "pulsar": ("brokers.pulsar:connect", "footfall[pulsar]"),
    "pulsar+ssl": ("brokers.pulsar:connect", "footfall[pulsar]"),
}


class UnknownBroker(BrokerError, ValueError):
    """No adapter answers to the URL's scheme; the message names the nearest."""


class MissingClient(BrokerError, ImportError):
    """The adapter is there, its client library is not; the message says what to install."""


def connect(url: str, secrets: dict[str, str] | None = None) -> Broker:
    """The broker that `url` names. `secrets` holds what must not stand in a URL (`username`, `password`, `token`).

    Nothing is awaited: call `ping` to learn whether somebody answers.
    """
    scheme = urlsplit(url).scheme
    factory = _factory(scheme, url)
    try:
        make: Callable[[str, dict[str, str]], Broker] = factory.load()
    except ModuleNotFoundError as missing:
        package = BUILTIN.get(scheme, ("", f"the package that provides {scheme}://"))[1]
        raise MissingClient(
            f"{scheme}:// needs the module {missing.name!r}, which is not installed: pip install '{package}'"
        ) from missing
    return make(url, secrets or {})


def schemes() -> list[str]:
    """Every scheme that `connect` understands here."""
    return sorted({*BUILTIN, *entry_points(group=GROUP).names})


def _factory(scheme: str, url: str) -> EntryPoint:
    if scheme in BUILTIN:
        return EntryPoint(scheme, BUILTIN[scheme][0], GROUP)
    for found in entry_points(group=GROUP, name=scheme):
        return found
    known = schemes()
    near = get_close_matches(scheme, known, n=1)
    shown = url.partition(":")[0] if scheme else url.partition("?")[0]
    raise UnknownBroker(
        f"no broker is known for {shown!r}."
        + (f" Did you mean {near[0]}://?" if near else "")
        + f" Known: {', '.join(f'{name}://' for name in known)}"
    )
