"""What a reader may ask, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stores.clients import Clients


@dataclass(frozen=True)
class Limits:
    seconds: int
    rows: int
    bytes: int
    memory: int


class Readers:
    def __init__(self, url: str, clients: Clients) -> None:
        self._clients = clients

    def answer(self, statement: str, fmt: str, params: dict[str, Any], limits: Limits) -> bytes:
        with self._clients.lend() as client:
            return bytes(client.raw_query(statement, parameters=params, fmt=fmt))

    def close(self) -> None: ...
