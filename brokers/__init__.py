"""Brokers, interchangeable by URL.

`connect("kafka://h:9092")` finds the adapter by the URL's scheme and imports it only then, so that a laptop on SQLite
never loads a Kafka client. The adapters of this project are the table below, so that a checkout works without being
installed. Third parties add a scheme by an entry point in the group `footfall.brokers`; `brokers.conformance` is the
suite that such an adapter has to pass.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import urlsplit

from brokers.base import Broker, BrokerError

GROUP = "footfall.brokers"

# scheme -> (factory, what to install if its client is missing). A factory takes (url, secrets).
BUILTIN: dict[str, tuple[str, str]] = {
    "memory": ("brokers.memory:MemoryBroker", "footfall"),
    "sqlite": ("brokers.sqlite.broker:SqliteBroker", "footfall"),
    "kafka": ("brokers.kafka.broker:connect", "footfall[kafka]"),
    "redpanda": ("brokers.kafka.broker:connect", "footfall[kafka]"),
    "warpstream": ("brokers.kafka.broker:connect", "footfall[kafka]"),
    "pulsar": ("brokers.pulsar.broker:connect", "footfall[pulsar]"),
    "pulsar+ssl": ("brokers.pulsar.broker:connect", "footfall[pulsar]"),
}


class UnknownBroker(BrokerError, ValueError):
    """No adapter has the URL's scheme; the message names the nearest one."""


class MissingClient(BrokerError, ImportError):
    """The adapter's client library is not installed; the message says what to install."""


def connect(url: str, secrets: dict[str, str] | None = None) -> Broker:
    """Return the broker at `url`; `secrets` has what must not stand in a URL (`username`, `password`, `token`).

    Nothing is sent yet: call `ping` to learn whether the broker answers. Raises ValueError if the URL is not
    understood, `UnknownBroker` for its scheme, and `MissingClient`."""
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
    """Return every scheme that `connect` understands in this installation, sorted."""
    return sorted({*BUILTIN, *entry_points(group=GROUP).names})


def _factory(scheme: str, url: str) -> EntryPoint:
    if scheme in BUILTIN:
        return EntryPoint(scheme, BUILTIN[scheme][0], GROUP)
    for found in entry_points(group=GROUP, name=scheme):
        return found
    offered = schemes()
    near = get_close_matches(scheme, offered, n=1)
    shown = url.partition(":")[0] if scheme else url.partition("?")[0]
    raise UnknownBroker(
        f"no broker is known for {shown!r}."
        + (f" Did you mean {near[0]}://?" if near else "")
        + f" Known: {', '.join(f'{name}://' for name in offered)}"
    )
