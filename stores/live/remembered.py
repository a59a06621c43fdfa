"""The ids that the door has taken lately, in the memory of one process: bounded in entries and bytes.

They lie in four generations, each of a quarter of the entries or of the time; the oldest is forgotten whole. An id
that is forgotten too early costs nothing: the pipeline recognises it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from threading import Lock

from stores.live import REMEMBERED_S

MAX_REMEMBERED = 200_000
_GENERATIONS = 4
_LONGEST = 96  # bytes: the ids of the beacon and a site's name have less


class Remembered:
    def __init__(self) -> None:
        self._lock = Lock()
        self._most = max(1, MAX_REMEMBERED // _GENERATIONS)
        self._generations: deque[tuple[float, dict[bytes, bytes]]] = deque()

    def __len__(self) -> int:
        return sum(len(items) for _, items in self._generations)

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._lock:
            self._forget()
            generations = [items for _, items in reversed(self._generations)]
        short = map(_short, keys)
        return [next((items[key] for items in generations if key in items), None) for key in short]

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        with self._lock:
            for key, value in items.items():
                newest = self._generations[-1] if self._generations else None
                now = time.monotonic()
                if newest is None or len(newest[1]) >= self._most or now - newest[0] > REMEMBERED_S / _GENERATIONS:
                    newest = (now, {})
                    self._generations.append(newest)
                    self._forget()
                newest[1][_short(key)] = value

    def _forget(self) -> None:
        oldest = time.monotonic() - REMEMBERED_S
        while self._generations and (len(self._generations) > _GENERATIONS or self._generations[0][0] < oldest):
            self._generations.popleft()


def _short(key: bytes) -> bytes:
    """As good as the key and never long: what a sender calls an event may be."""
    return key if len(key) <= _LONGEST else blake2b(key).digest()
