"""`memory://`: a broker in lists, for tests and demonstrations. It ends with its process and is never shared."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from brokers.base import Capability
from brokers.checks import read_options
from brokers.log_store import LogStoreBroker


class MemoryBroker(LogStoreBroker):
    """See `brokers.base.Broker` for every method's guarantee."""

    capabilities = {
        "durable": Capability(False, "records live in this process and end with it"),
        "shared": Capability(False, "each connection is a broker of its own"),
        "replication": Capability(False, "one copy"),
        "retention": Capability(True, "by age, when records are published; held back by remembered positions"),
    }

    def __init__(self, url: str = "memory://", secrets: dict[str, str] | None = None) -> None:  # noqa: ARG002
        read_options(url, {})
        super().__init__(url, _Lists())


class _Lists:
    """See `brokers.log_store.LogStore`."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._lists: dict[str, tuple[int, list[bytes]]] = {}  # number of the first, entries
        self._lock = threading.Lock()

    def ping(self, timeout: float) -> str:  # noqa: ARG002
        return "memory"

    def get(self, name: str) -> bytes | None:
        return self._values.get(name)

    def put(self, name: str, value: bytes) -> None:
        self._values[name] = value

    def put_if_absent(self, name: str, value: bytes) -> None:
        self._values.setdefault(name, value)

    def delete(self, names: Sequence[str]) -> None:
        with self._lock:
            for name in names:
                self._values.pop(name, None)
                self._lists.pop(name, None)

    def names(self, prefix: str) -> list[str]:
        with self._lock:
            return [name for name in list(self._values) if name.startswith(prefix)]

    def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        with self._lock:
            for name, entry in entries:
                self._lists.setdefault(name, (0, []))[1].append(entry)

    def span(self, name: str) -> tuple[int, int]:
        first, entries = self._lists.get(name, (0, []))
        return first, first + len(entries)

    def read(self, name: str, start: int, count: int) -> list[bytes]:
        first, entries = self._lists.get(name, (0, []))
        return entries[start - first : start - first + count] if start >= first else []

    def drop(self, name: str, start: int) -> None:
        with self._lock:
            first, entries = self._lists[name]
            self._lists[name] = (start, entries[start - first :])

    def close(self) -> None:
        return
