"""What the dashboards are given: opened stores, and the few things that only the process around them can do.

They never read the environment, and they do not know the door: the list of sites, and how to add one, come as
callables, so that the sites may live in a file, in a function's settings or in a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time

from flask import current_app

from stores.base import Live
from stores.warehouse import Warehouse

Sites = Callable[[], Mapping[str, str]]
"""The known domains, each with its time zone, as they are now."""


def _clock() -> int:
    return int(time() * 1000)


@dataclass(frozen=True)
class Context:
    warehouse: Warehouse
    sites: Sites
    live: Live
    collect_url: str  # where the tracking port is reached from a visitor's browser, without trailing slash
    add_site: Callable[[str], object] | None = None  # raises ValueError in words when it cannot
    metrics: Callable[[], str] | None = None  # Prometheus text
    problem: Callable[[], str | None] | None = None  # why questions cannot be answered yet, None when they can
    countries: bool = False  # a database of places is in use
    clock: Callable[[], int] = _clock  # milliseconds UTC


def built() -> str:
    """When the front end was built, so that a browser keeps a file until there is another; empty without one."""
    folder = Path(str(current_app.static_folder))
    times = [file.stat().st_mtime_ns for file in (folder / "board.js", folder / "board.css") if file.exists()]
    return f"{max(times):x}" if len(times) == 2 else ""


def current_context() -> Context:
    found: Context = current_app.extensions["footfall"]
    return found
