"""What the dashboards need: opened stores, and the few things that only the process around them can do.

They never read the environment, and they know nothing of the tracking service. The list of sites, and how to add one,
are callables, so that the sites may be in a file, in a function's settings or in a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time

from flask import current_app

from dashboards.operation import Operation
from dashboards.realtime import Realtime
from stores.warehouse import Warehouse

Sites = Callable[[], Mapping[str, str]]
"""Returns the current domains, each with its time zone. In a `Context`, those that the request may know of."""


def unix_ms() -> int:
    """The time of this machine's clock."""
    return int(time() * 1000)


@dataclass(frozen=True)
class Context:
    """The opened stores and callables that every route uses."""

    warehouse: Warehouse
    sites: Sites
    realtime: Realtime
    collect_url: str  # where a visitor's browser reaches the tracking port, without a trailing slash
    add_site: Callable[[str], object] | None = None  # raises ValueError in words if it cannot
    metrics: Callable[[], str] | None = None  # Prometheus text
    problem: Callable[[], str | None] | None = None  # why the numbers are not complete yet; None if they are
    countries: bool = False  # whether a geo database is in use
    clock: Callable[[], int] = unix_ms  # returns Unix milliseconds
    mails: bool = False  # whether a mail server is set
    operation: Callable[[], Operation] | None = None  # what the process does beside answering
    # Replays a dead letter, by its id, with these bytes; returns in words why it is refused again, or "".
    replay: Callable[[str, bytes], str] | None = None


def built() -> str:
    """The build time of the front end, so that browsers cache its files until the next build; "" if there is none."""
    folder = Path(str(current_app.static_folder))
    times = [file.stat().st_mtime_ns for file in (folder / "board.js", folder / "board.css") if file.exists()]
    return f"{max(times):x}" if len(times) == 2 else ""


def current_context() -> Context:
    """The context of the application that handles this request."""
    found: Context = current_app.extensions["footfall"]
    return found
