"""GoatCounter's CSV export of page views, version 1 and 2 of its format.

A session of GoatCounter lasts up to eight hours and has no visitor behind it, so each is a visitor here. The file has
no ids of events: one is made of the row and of how often it stood in its file before, so that exports may overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

from msgspec.structs import replace

from activity.geo import Place
from activity.user_agent import Agent
from activity.user_agent import parse as parse_agent
from ingest.logs.files import ImportFailed
from ingest.migration import names
from ingest.migration.address import with_tags
from ingest.migration.dates import time_of_day
from ingest.migration.export import Action, Broken, Read, Row, Scratch, Tell, csv_rows, header
from ingest.migration.members import Member

_REQUIRED = ("Title", "Event", "Session", "Date")
_KNOWN = ("Bot", "Referrer", "Referrer scheme", "Browser", "System", "UserAgent", "User-Agent", "Screen size",
          "Location", "FirstVisit")  # fmt: skip


def read(members: Sequence[Member], site: str, _theirs: str, tell: Tell) -> Iterator[Read]:
    """Yield what each row of the export says. Raises ImportFailed where a file is none."""
    for member in members:
        with Scratch() as repeats:
            path = next(iter(header(member)), "")
            if path not in ("1Path", "2Path"):
                raise ImportFailed(
                    f"{member.name}, line 1: GoatCounter's export begins with the column '2Path' or '1Path', and this"
                    f" one with {path[:40]!r}. {_advice(path)}"
                )
            for row in csv_rows(member, [path, *_REQUIRED], _KNOWN, tell):
                yield row if isinstance(row, Broken) else _action(row, path, site, repeats)


def _advice(path: str) -> str:
    if path == "Path":
        return "Exports of before version 1 have no sessions: update GoatCounter, and export it again."
    return "Download it under Settings > Export, as CSV."


def _action(row: Row, path: str, site: str, repeats: Scratch) -> Read:
    if not row.get(path):
        return Broken(row.number, row.raw, f"column 1, {path!r}, is empty")
    if not row.get("Session"):
        return Broken(row.number, row.raw, "the column 'Session' is empty")
    is_event = row.get("Event").lower() in ("true", "1")
    digest = blake2b(row.raw.rstrip(b"\r\n"), digest_size=16).hexdigest()
    before = int(repeats.find("row", digest).get("times", 0))
    repeats.keep("row", digest, {"times": before + 1})
    # Where sessions are not collected, each view is of a visitor of its own, as GoatCounter counts it.
    session = row.get("Session") if row.get("Session").strip("0-") else f"{digest}-{before}"
    where = "/" if is_event else row.get(path)
    referrer, where = _came_from(row, where)
    event = {
        "type": "custom" if is_event else "pageview",
        "name": row.get(path) if is_event else "",
        "url": f"https://{site}/{where.removeprefix('/')}",
        "title": row.get("Title"),
        "referrer": referrer,
        "screen": _screen(row.get("Screen size")),
        "visitor": f"goatcounter:{session}",
        "ts": time_of_day(row.get("Date")),
        "id": f"goatcounter:{digest}-{before}",
    }
    return Action(row.number, event, _agent(row), place_of(row.get("Location")), session)


def _came_from(row: Row, where: str) -> tuple[str, str]:
    """Return the referrer, and the address with the name of a source that is no address."""
    value, scheme = row.get("Referrer"), row.get("Referrer scheme")
    if not value:
        return "", where
    if scheme in ("c", "g"):
        return "", with_tags(where, {"ref": value})
    return value if "://" in value else f"{'https' if scheme != 'o' else 'android-app'}://{value}", where


def _agent(row: Row) -> Agent:
    bot = "" if row.get("Bot") in ("", "0") else "goatcounter"
    text = row.get("User-Agent", "UserAgent") or (row.get("Browser") if "/" in row.get("Browser") else "")
    if text:  # version 1 of the format has it as the browser
        found = parse_agent(text)
        return found if found.bot or not bot else replace(found, bot=bot)
    browser, version = _versioned(row.get("Browser"))
    system, system_version = _versioned(row.get("System"))
    return Agent(browser, version, system, system_version, device_of(row.get("Screen size")), bot)


def _versioned(text: str) -> tuple[str, str]:
    """Return name and version of "Firefox 139"."""
    name, _, version = text.rpartition(" ")
    return (name, version) if name and version[:1].isdigit() else (text, "")


def _screen(text: str) -> str:
    parts = text.replace("x", ",").split(",")
    return "x".join(parts[:2]) if len(parts) >= 2 and parts[0] not in ("", "0") else ""


def device_of(screen: str) -> str:
    """Return the kind of device by the width of its screen, all that the export tells; "" where that is unknown."""
    width = screen.replace("x", ",").partition(",")[0].partition(".")[0]
    if not width.isdecimal() or width == "0":
        return ""
    return "mobile" if int(width) < 768 else "tablet" if int(width) < 1024 else "desktop"


def place_of(location: str) -> Place:
    """Return the place of a code of a country or region."""
    return names.place_of(location.partition("-")[0], location if "-" in location else "")
