"""Real parts for the stores: the embedded engine in this process."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

import stores
from stores.warehouse import Warehouse


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    """One a module: a process holds one embedded warehouse at a time. FOOTFALL_TEST_CLICKHOUSE names a server
    (infra/compose.yaml), where each module gets a database of its own."""
    server = os.environ.get("FOOTFALL_TEST_CLICKHOUSE")
    own = f"test_{uuid.uuid4().hex[:12]}"
    place, _, options = (server or "").partition("?")
    opened = stores.connect_warehouse(f"{place.rpartition('/')[0]}/{own}?{options}" if server else "chdb://")
    opened.migrate()
    yield opened
    if server:
        opened.command(f"DROP DATABASE {own}")
    opened.close()
