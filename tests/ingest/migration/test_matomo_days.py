"""What Matomo's API tells of days in each of its forms: numbers, lists by one thing, several sites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from infra.commands.migration import Exported
from ingest.logs.files import ImportFailed
from ingest.migration.daily import by_day
from ingest.migration.export import Left
from ingest.migration.totals import Total, look
from tests.ingest.migration import exports
from tests.ingest.migration.exports import SITE, Files, exported, numbers, written

_DAY = {"nb_uniq_visitors": 10, "nb_visits": 12, "nb_actions": 40, "nb_pageviews": 30, "bounce_count": 6,
        "sum_visit_length": 900, "bounce_rate": "50%", "avg_time_on_site": 75}  # fmt: skip
_OTHER = _DAY | {"nb_uniq_visitors": 5, "nb_visits": 6, "nb_pageviews": 7}
TWO = {"2024-05-01": [10, 12, 30], "2024-05-02": [5, 6, 7]}


def _xml(inner: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8" ?>\n<results>\n{inner}</results>'


def _fields(row: dict[str, Any]) -> str:
    return "".join(f"\t\t<{name}>{value}</{name}>\n" for name, value in row.items())


def _day(day: str, row: dict[str, Any]) -> str:
    return f'\t<result date="{day}">\n{_fields(row)}\t</result>\n' if row else f'\t<result date="{day}" />\n'


_NAMES = ("date", *_DAY)
FORMS: dict[str, str | bytes] = {
    "json": json.dumps({"2024-05-01": _DAY, "2024-05-02": _OTHER, "2024-05-03": []}),
    "pretty": json.dumps({"2024-05-01": _DAY, "2024-05-02": _OTHER}, indent=4),
    "two answers": json.dumps({"2024-05-01": _DAY}) + "\n" + json.dumps({"2024-05-02": _OTHER}) + "\n",
    "numbers as texts": json.dumps(
        {"2024-05-01": {key: str(each) for key, each in _DAY.items()}, "2024-05-02": _OTHER}),
    "xml": _xml(_day("2024-05-01", _DAY) + _day("2024-05-02", _OTHER) + _day("2024-05-03", {})),
    "csv": "\n".join(",".join(map(str, row)) for row in (
        _NAMES, ("2024-05-01", *_DAY.values()), ("2024-05-02", *_OTHER.values()))),
    "csv of excel": "\n".join(";".join(map(str, row)) for row in (
        _NAMES, ("13.05.2024", *_DAY.values()), ("14.05.2024", *_OTHER.values()))),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_days(tmp_path: Path, form: str) -> None:
    found = numbers(tmp_path, "matomo", {"answer": FORMS[form]})
    assert list(found.values()) == list(TWO.values())
    assert [*found] == ([*TWO] if form != "csv of excel" else ["2024-05-13", "2024-05-14"])


def test_a_day_is_read_whole(tmp_path: Path) -> None:
    first, *_ = exported(tmp_path, "matomo", {"a.xml": FORMS["xml"]}).rows()
    assert tuple(first.rows[0]) == ("", "", 10, 12, 6, 900_000, 30, 0)
    assert tuple(first.rows[1]) == ("", "events", 0, 0, 0, 0, 30, 40)


SITES = {
    "json": json.dumps({"1": {"2024-05-01": _DAY, "2024-05-02": []}, "2": {"2024-05-01": _OTHER}}),
    "xml": _xml(f'<result idSite="1">\n{_day("2024-05-01", _DAY)}</result>\n'
                f'<result idSite="2">\n{_day("2024-05-01", _OTHER)}</result>\n'),
    "csv": f"idsite,{','.join(_NAMES)}\n1,2024-05-01,{','.join(map(str, _DAY.values()))}\n"
           f"2,2024-05-01,{','.join(map(str, _OTHER.values()))}\n",
}  # fmt: skip


@pytest.mark.parametrize("form", SITES)
def test_one_of_several_sites_is_chosen(tmp_path: Path, form: str) -> None:
    paths = written(tmp_path, {"answer": SITES[form]})
    with pytest.raises(ImportFailed, match="there are several sites in it, choose one with --their-site: 1, 2"):
        list(Exported("matomo", paths, SITE, "", None).rows())
    with pytest.raises(ImportFailed, match="there is no site 3 in it"):
        list(Exported("matomo", paths, SITE, "3", None).rows())
    days = by_day(Exported("matomo", paths, SITE, "2", None).rows(), "UTC").days
    assert [(str(day), told.visitors) for day, told in days.items()] == [("2024-05-01", 5)]


def _row(label: str, segment: str, **others: Any) -> dict[str, Any]:
    return {"label": label, "nb_uniq_visitors": 3, "nb_visits": 4, "nb_actions": 9, "bounce_count": 1,
            "sum_visit_length": 60, "segment": segment} | others  # fmt: skip


_URL = quote(quote(f"https://{SITE}/docs/\u00fcber?a=b", safe=""), safe="")
LISTS: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "getPageUrls": (_row("/docs", f"pageUrl=={_URL}", nb_hits=8, url="x"),
        ("page", "/docs/%C3%BCber", 3, 4, 1, 60_000, 8, 8)),
    "getEntryPageUrls": (_row("/docs", f"entryPageUrl=={_URL}", entry_nb_visits=2, entry_bounce_count=1,
        entry_sum_visit_length=5), ("entry_page", "/docs/%C3%BCber", 0, 2, 1, 5000, 0, 0)),
    "getExitPageUrls": (_row("/docs", f"exitPageUrl=={_URL}", exit_nb_visits=2),
        ("exit_page", "/docs/%C3%BCber", 0, 2)),
    "getCountry": (_row("Germany", "countryCode==de", code="de"), ("country", "DE", 3, 4, 1, 60_000, 0, 0)),
    "an unknown country": (_row("Unknown", "countryCode==xx"), ("country", "", 3, 4)),
    "getRegion": (_row("Berlin, Germany", "regionCode==BE;countryCode==de"), ("region", "DE-BE", 3, 4)),
    "getCity": (_row("Berlin, Berlin", "city==Berlin;regionCode==BE;countryCode==de"), ("city", "Berlin", 3, 4)),
    "getCity otherwise": (_row("Berlin",
    "countryCode==de;regionCode==BE;city==Bad%2BT%C3%B6lz"), ("city", "Bad+T\u00f6lz", 3, 4)),
    "getType": (_row("Smartphone", "deviceType==smartphone"), ("device", "mobile", 3, 4)),
    "getBrowsers": (_row("Chrome Mobile", "browserCode==CM"), ("browser", "Chrome", 3, 4)),
    "getOsFamilies": (_row("Windows", "operatingSystemCode==WIN"), ("os", "Windows", 3, 4)),
    "getWebsites": (_row("a.example", "referrerType==website;referrerName==a.example"),
        ("source", "a.example", 3, 4)),
    "getAction": (_row("submit", "eventAction==submit", nb_events=7), ("event", "submit", 3, 4, 1, 60_000, 0, 7)),
}  # fmt: skip


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize("form", ["json", "xml", "csv"])
def test_lists_of_days(tmp_path: Path, method: str, form: str) -> None:
    row, expected = LISTS[method]
    names = [f"metadata_{name}" if name in ("segment", "code", "url") else name for name in row]
    text = {
        "json": json.dumps({"2024-05-01": [row], "2024-05-02": []}),
        "xml": _xml(f'<result date="2024-05-01">\n<row>\n{_fields(row)}</row>\n</result>\n'
                    '<result date="2024-05-02" />\n'),
        "csv": f"date,{','.join(names)}\n2024-05-01," + ",".join(f'"{value}"' for value in row.values()) + "\n",
    }[form]
    found, *rest = exported(tmp_path, "matomo", {"answer": text}).rows()
    assert tuple(found.rows[0])[: len(expected)] == expected
    part = f"list of {expected[0]}{': website' if expected[0] == 'source' else ''}"
    assert (str(found.day), found.part) == ("2024-05-01", part)
    assert [row.reason for row in rest] == ([] if form == "csv" else ["no_visits"])


REFUSED = {
    "one number": ('{"2024-05-01": 12, "2024-05-02": 3}', "does not say what its numbers are: ask for API.get"),
    "weeks": (json.dumps({"2024-04-29,2024-05-05": _DAY}), "'2024-04-29,2024-05-05' is no day: ask Matomo with "
    "period=day"),
    "years": (json.dumps({"2024": _DAY}), "'2024' is no day: ask Matomo with period=day"),
    "months as xml": (_xml(_day("2024-05", _DAY)), "'2024-05' is no day"),
    "folders": (json.dumps({"2024-05-01": [_row("docs",
    "pageUrl=^https%253A%252F%252Fx%252Fdocs")]}), "ask for it with flat=1"),
    "no segments": (json.dumps({"2024-05-01": [{"label": "/", "nb_visits": 3}]}), "its rows have no `segment`"),
    "another list": (json.dumps({"2024-05-01": [_row("9h", "visitServerHour==9")]}), "it is of visitServerHour"),
    "a list of the whole time": (json.dumps([_row("Germany", "countryCode==de")]), "has numbers and no days"),
    "an error as csv": ("Error: You can't access this resource\n", "Matomo's answer is: Error: You can't"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_of_days_is_said_in_words(tmp_path: Path, name: str) -> None:
    text, words = REFUSED[name]
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "matomo", {"answer": text}).rows())


def test_days_and_visits_are_imported_apart(tmp_path: Path) -> None:
    files: Files = {"days.json": FORMS["json"], "visits.json": json.dumps(exports.MATOMO_API)}
    with pytest.raises(ImportFailed, match=r"days\.json has numbers of days, and other files have visits"):
        list(exported(tmp_path, "matomo", files).rows())


def test_a_number_that_is_none_is_not_understood(tmp_path: Path) -> None:
    rows = [_row("Germany", "countryCode==de", nb_visits=-4), _row("France", "countryCode==fr")]
    text = json.dumps({"2024-05-01": rows})
    broken, france = exported(tmp_path, "matomo", {"a.json": text}).rows()
    assert (broken.why, france.rows[0].value) == ("nb_visits is -4, no count", "FR")


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_a_long_list_has_not_kept_is_left_out(tmp_path: Path, form: str) -> None:
    days = {day: [_row(f"/{place}", f"pageUrl=={_URL}{place}") for place in range(2)] for day in TWO}
    others = {name: value for name, value in _row("Others", "").items() if name != "segment"}
    days["2024-05-02"].insert(0, others)
    lines = [",".join((day, *(str(row.get(name, "")) for name in _row("", "")))) for day in days for row in days[day]]
    csv = "\n".join((f"date,{','.join(_row('', '')).replace('segment', 'metadata_segment')}", *lines))
    found = list(exported(tmp_path, "matomo", {"a": json.dumps(days) if form == "json" else csv}).rows())
    assert [row.reason for row in found if isinstance(row, Left)] == ["others"]
    assert [str(row.day) for row in found if isinstance(row, Total)] == ["2024-05-01"] * 2 + ["2024-05-02"] * 2


REFERRERS = {
    "getSearchEngines": [("referrerType==search;referrerName==Google", "google.com")],
    "getWebsites": [("referrerName==a.example", "a.example"), ("referrerName==b.example", "b.example")],
    "getCampaigns": [("referrerType==campaign;referrerName==Spring%2520sale", "spring sale")],
    "getReferrerType": [("referrerType==direct", ""), ("referrerType==search", None), ("referrerType==campaign", None)],
    "getKeywords": [("referrerType==search;referrerKeyword==a", None),
                    ("referrerKeyword==b;referrerType==search", None)],
}


def test_lists_of_referrers_add_up(tmp_path: Path) -> None:
    answers = {
        f"{method}.json": json.dumps({"2024-05-01": [_row("x", segment) for segment, _ in rows]})
        for method, rows in REFERRERS.items()
    }
    found = list(exported(tmp_path, "matomo", answers).rows())
    wanted = [source for rows in REFERRERS.values() for _, source in rows if source is not None]
    looked = look(found)
    kept = [row for total in found if isinstance(total, Total) if looked.files[total.part, total.day] == total.file
            for row in total.rows]  # fmt: skip
    assert sorted(row.value for row in kept if row.dimension == "source") == sorted(wanted)
    assert [row.value for row in kept if row.dimension == "campaign"] == ["Spring sale"]
    assert [row.reason for row in looked.left] == ["in_other_list"] * 4
