"""What must be quick: ids taken lately, who is there now, salts, shared limits. In this process, or in a Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stores.base import Live, Unusable
from stores.location import parse

__all__ = ["connect_live", "salt_expires"]

SALT_BYTES = 16
REMEMBERED_S = 86_400
ACTIVE_MS = 3_600_000
CURRENT_MS = 300_000
PAGES_MINUTES = 30
TOP_PAGES = 10
LONGEST_PATH = 512  # characters of a page that are kept for the top pages


def connect_live(url: str) -> Live:
    """`file:///folder` or a plain path (for one process that serves the door), or `redis://host:port/db`.

    The option of Redis is `prefix`."""
    place = parse(url)
    match place.scheme:
        case "file":
            from stores.live.folder import FolderLive

            return FolderLive(place)
        case "redis" | "rediss":
            from stores.live.redis import RedisLive

            return RedisLive(url)
    raise Unusable(f"{place.shown}: the live store is a folder (file:///path) or redis://host:6379/0")


def salt_expires(day: str, now: float) -> float:
    """When a day's salt has to be gone: 48 hours after the day began (Unix seconds).

    A salt asked for later than that (a clock was set back, a test has its own days) lives 48 hours from now."""
    end = (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=48)).timestamp()
    return end if end > now else now + 48 * 3600
