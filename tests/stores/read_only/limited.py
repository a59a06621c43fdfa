"""Statements under tighter limits than a user's have."""

from __future__ import annotations

from dataclasses import replace

from stores.read_only.client import LIMITS, Answer
from stores.warehouse import Warehouse


def answer(
    warehouse: Warehouse, statement: str, params: dict[str, str] | None = None, escaped: bool = False, **limits: int
) -> Answer:
    return warehouse._read_only.answer(statement, "TabSeparated", params or {}, replace(LIMITS, **limits), escaped)
