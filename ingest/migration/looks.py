"""Whose export a file looks like, for those who named another product."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from ingest.logs import formats
from ingest.logs.files import ImportFailed
from ingest.migration import sql_dump
from ingest.migration.export import header, json_objects
from ingest.migration.ga4.words import canonical
from ingest.migration.members import PARQUET, Member

NAMES = {
    "plausible": "Plausible", "umami": "Umami", "matomo": "Matomo", "ga4": "Google Analytics 4",
    "goatcounter": "GoatCounter",
}  # fmt: skip
_OF_GA4 = {"Sessions", "Total users", "Active users", "Views", "Event count", "Engaged sessions"}

_OF_UMAMI = ({"sessionId", "urlPath"}, {"session_id", "url_path"}, {"pageviews", "sessions"})
_OF_EVENTS = {"site_id", "user_id", "session_id", "pathname"}  # of Plausible's


def advice(members: Sequence[Member], product: str) -> str:
    """Return a sentence that says whose export the files look like, if they look like another product's; "" if not."""
    found = next((found for member in members[:20] if (found := looks_like(member))), "")
    if found in ("", product):
        return ""
    if found == "log":
        return ". It looks like an access log: footfall import FILE… --site DOMAIN"
    return f". It looks like an export of {NAMES[found]}: footfall import {found} FILE… --site DOMAIN"


def looks_like(member: Member) -> str:
    """Return the product whose export a file is, as its beginning tells, "log" for an access log; "" if it is none."""
    try:
        if member.begins(4) == PARQUET:
            return "ga4"
        if member.first_byte() in (b"{", b"["):
            return _of_json(member)
        if sql_dump.is_dump(member):
            return _of_dump(member)
        return _of_table(member)
    except ImportFailed:
        return ""


def _of_json(member: Member) -> str:
    found = next(iter(json_objects(member)), None)
    row = found[1] if isinstance(found, tuple) and isinstance(found[1], dict) else {}
    if {"event_name", "event_timestamp"} <= {*row} or {"metricHeaders", "columnHeader", "columnHeaders"} & {*row}:
        return "ga4"
    if {*row} >= _OF_EVENTS or isinstance(row.get("results"), list):
        return "plausible"
    if {"goatcounter_version", "export_version"} & {*row} or {"hour", "path_id"} <= {*row}:
        return "goatcounter"
    if any(names <= {*row} for names in _OF_UMAMI):
        return "umami"
    if "actionDetails" in row or any(isinstance(each, dict) and "nb_visits" in each for each in row.values()):
        return "matomo"
    return _log(member)


def _of_dump(member: Member) -> str:
    names = sql_dump.tables(member)
    if names & {"website_event", "pageview"}:
        return "umami"
    return "matomo" if any(name.endswith("log_link_visit_action") for name in names) else ""


def _of_table(member: Member) -> str:
    names = header(member, above=b"#")
    if re.fullmatch(r"\dPath", names[0] if names else ""):
        return "goatcounter"
    if PurePath(member.name).name.startswith("imported_") or {"views_per_visit"} & {*names} or {*names} >= _OF_EVENTS:
        return "plausible"
    if {"session_id", "website_id"} <= {*names}:
        return "umami"
    if "actionDetails_0_type" in names or "nb_visits" in names:
        return "matomo"
    return "ga4" if {canonical(name) for name in names} & _OF_GA4 else _log(member)


def _log(member: Member) -> str:
    lines = [line for line, _ in zip(member.lines(), range(20), strict=False)]
    return "log" if formats.detect(lines) not in (None, "events", "json") else ""
