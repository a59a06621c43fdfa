"""GoatCounter's JSON export: a zip of JSON lines with what hours and days amount to by path, and by one thing more; and
the answers of its API.

It counts a path once for each visitor, and does not say how many visitors there were on all of them: so a day has its
views and no visits, and lists have as many visitors as views. Days are those of UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from activity.attribution import Origin, origin, referrer_host
from ingest.logs.files import ImportFailed
from ingest.migration import names
from ingest.migration.address import page_of
from ingest.migration.dates import day_of
from ingest.migration.export import Broken, Left, Scratch, Tell, json_objects
from ingest.migration.goatcounter import device_of, place_of
from ingest.migration.members import Member
from ingest.migration.totals import Counted, DayRow, Total

# Files that name what the others count, by the field that they are found by.
_NAMES = {"paths": "id", "refs": "id", "browsers": "id", "systems": "id"}
_NOT_READ = ("info", "languages", "locations", "language_stats")
_MOST = 10**15

Find = Callable[[str, str], dict[str, Any]]


def is_totals(members: Sequence[Member]) -> bool:
    """Return whether this is a JSON export, and no CSV of page views."""
    return any(_stem(member) in _STATS or _stem(member) == "info" for member in members)


def read(members: Sequence[Member], _site: str, _theirs: str, tell: Tell) -> Iterator[Counted]:
    """Yield what each row of the statistics says. Raises ImportFailed where the export is of another version."""
    with Scratch() as kept:
        for member in members:
            stem = _stem(member)
            if stem == "info":
                _check(member)
            elif stem in _NAMES:
                yield from _keep(member, kept)
            elif stem not in (*_STATS, *_NOT_READ):
                tell(f"{member.name} is not known and not read")
        find = lru_cache(16_384)(lambda kind, key: kept.find(kind, key))
        for file, member in enumerate(members):
            if _stem(member) in _STATS:
                for found in json_objects(member):
                    yield found if isinstance(found, Broken) else _total(*found, _stem(member), file, find)


def _stem(member: Member) -> str:
    name = PurePath(member.name).name.removesuffix(".gz")
    return name.rpartition(".")[0] if name.endswith((".json", ".jsonl")) else ""


def _check(member: Member) -> None:
    text = b"".join(member.lines())
    if b'"export_version"' in text and b'"1.' not in text.partition(b'"export_version"')[2][:20]:
        raise ImportFailed(f"{member.name}: only version 1 of GoatCounter's JSON export is known: {text[:200]!r}")


def _keep(member: Member, kept: Scratch) -> Iterator[Broken]:
    stem = _stem(member)
    for found in json_objects(member):
        if isinstance(found, Broken):
            yield found
        elif _NAMES[stem] not in found[1]:
            yield Broken(found[0], repr(found[1]).encode(), f"{stem}: the field {_NAMES[stem]!r} is missing")
        else:
            kept.keep(stem, str(found[1][_NAMES[stem]]), found[1])


def _total(number: int, row: dict[str, Any], stem: str, file: int, find: Find) -> Counted:
    text, count = str(row.get("hour") or row.get("day") or ""), row.get("count")
    day = day_of(text[:10])
    if day is None or not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < _MOST:
        return Broken(number, repr(row).encode(), f"{stem}: no day, or no count: {text!r}, {count!r}")
    path = find("paths", str(row.get("path_id")))
    if not isinstance(path.get("path"), str):
        return Broken(number, repr(row).encode(), f"{stem}: the path {row.get('path_id')!r} is not in paths.jsonl")
    if path.get("event"):
        return _event(number, stem, day, path["path"], count, file)
    named = _STATS[stem](row, path["path"], find)
    rows = [DayRow(dimension, value, count, count, 0, 0, count, count) for dimension, value in named]
    if stem == "hit_stats":
        rows.append(DayRow("", "events", pageviews=count, events=count))
    return Total(number, stem, day, rows, file)


def _event(number: int, stem: str, day: date, name: str, count: int, file: int) -> Counted:
    """An event has no browser and no place here: their lists are of visits."""
    if stem != "hit_stats":
        return Left(number, "of_event")
    rows = [DayRow("event", name, count, events=count), DayRow("", "events", events=count)]
    return Total(number, stem, day, rows, file)


def _hit(row: dict[str, Any], path: str, find: Find) -> list[tuple[str, str]]:
    came = _came_from(find("refs", str(row.get("ref_id"))))
    return [("page", page_of(path)), ("source", came.source), ("channel", came.channel)]


def _came_from(ref: dict[str, Any]) -> Origin:
    value, scheme = str(ref.get("ref") or ""), ref.get("ref_scheme")
    if scheme in ("g", "c"):
        return origin({"ref": value} if value else {}, "")
    return origin({}, referrer_host(f"{'https' if scheme == 'h' else 'android-app'}://{value}") if value else "")


def _named(row: dict[str, Any], kind: str, find: Find) -> str:
    return str(find(f"{kind}s", str(row.get(f"{kind}_id"))).get("name") or "")


def _place(row: dict[str, Any], _path: str, _find: Find) -> list[tuple[str, str]]:
    place = place_of(str(row.get("location") or ""))
    return [("country", place.country), ("region", place.region)]


_STATS: dict[str, Callable[[dict[str, Any], str, Find], list[tuple[str, str]]]] = {
    "hit_stats": _hit,
    "browser_stats": lambda row, _, find: [("browser", names.browser_of(_named(row, "browser", find)))],
    "system_stats": lambda row, _, find: [("os", names.system_of(_named(row, "system", find)))],
    "location_stats": _place,
    "size_stats": lambda row, _path, _find: [("device", device_of(str(row.get("width"))))],
}


def is_answer(members: Sequence[Member]) -> bool:
    """Return whether the files are answers of the API, which has days of each path (`/api/v0/stats/hits`)."""
    names = {"hits", "stats", "error", "errors"}
    return all(member.first_byte() == b"{" and names & {*_first(member)} for member in members)


def _first(member: Member) -> dict[str, Any]:
    found = next(json_objects(member), None)
    return found[1] if isinstance(found, tuple) and not isinstance(found, Broken) else {}


def read_answers(members: Sequence[Member], _site: str, _theirs: str, tell: Tell) -> Iterator[Counted]:
    """Yield what each day of each path amounts to. Raises ImportFailed where an answer has no paths.

    All answers are of one file: each has other paths of the same days."""
    for member in members:
        for found in json_objects(member):
            if isinstance(found, Broken):
                yield found
                continue
            number, answer = found
            if "error" in answer or "errors" in answer:
                raise ImportFailed(f"{member.name}: GoatCounter's answer is: {answer.get('error') or answer['errors']}")
            if not isinstance(answer.get("hits"), list):
                what = f"{member.name}, line {number} is of the whole time"
                raise ImportFailed(f"{what}: ask /api/v0/stats/hits, which has days")
            if answer.get("more"):
                tell(f"{member.name} says that there are more paths: ask for them, too, with exclude_paths")
            for hit in answer["hits"]:
                yield from _of_hit(number, hit if isinstance(hit, dict) else {})


def _of_hit(number: int, hit: dict[str, Any]) -> Iterator[Counted]:
    path, stats = hit.get("path"), hit.get("stats")
    if not isinstance(path, str) or not isinstance(stats, list):
        yield Broken(number, repr(hit).encode(), "no path, or no days of it")
        return
    for each in stats:
        told = each if isinstance(each, dict) else {}
        day, count = day_of(str(told.get("day"))), told.get("daily")
        if day is None or not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < _MOST:
            yield Broken(number, repr(each).encode(), f"{path}: no day, or no count: {told.get('day')!r}, {count!r}")
        elif hit.get("event"):
            yield _event(number, "hit_stats", day, path, count, 0)
        else:
            rows = [DayRow("page", page_of(path), count, count, 0, 0, count, count)]
            yield Total(number, "hit_stats", day, [*rows, DayRow("", "events", pageviews=count, events=count)], 0)
