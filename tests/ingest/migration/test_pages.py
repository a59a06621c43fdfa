"""Answers that an API gives page by page: pages that cut a day are of one answer, and one that lacks is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.logs.files import ImportFailed
from ingest.migration.totals import Total
from tests.ingest.migration.exports import Files, exported, zipped

_ROWS = [("20240501", "/a", 5), ("20240501", "/b", 3), ("20240502", "/a", 2)]


def _data_api(rows: list[Any], in_all: int) -> dict[str, Any]:
    return {
        "dimensionHeaders": [{"name": "date"}, {"name": "pagePath"}], "metricHeaders": [{"name": "screenPageViews"}],
        "rows": [{"dimensionValues": [{"value": day}, {"value": page}], "metricValues": [{"value": str(count)}]}
                 for day, page, count in rows],
        "rowCount": in_all,
    }  # fmt: skip


def _version_4(rows: list[Any], in_all: int) -> dict[str, Any]:
    metrics = [{"name": "ga:pageviews"}]
    head = {"dimensions": ["ga:date", "ga:pagePath"], "metricHeader": {"metricHeaderEntries": metrics}}
    found = [{"dimensions": [day, page], "metrics": [{"values": [str(count)]}]} for day, page, count in rows]
    return {"reports": [{"columnHeader": head, "data": {"rows": found, "rowCount": in_all}, "nextPageToken": "2"}]}


def _version_3(rows: list[Any], in_all: int) -> dict[str, Any]:
    heads = [{"name": f"ga:{name}"} for name in ("date", "pagePath", "pageviews")]
    return {"columnHeaders": heads, "rows": [[*map(str, row)] for row in rows], "totalResults": in_all}


def _plausible(rows: list[Any], in_all: int) -> dict[str, Any]:
    found = [{"dimensions": [f"2024-05-0{day[-1]}", page], "metrics": [count]} for day, page, count in rows]
    offset = _ROWS.index(rows[0]) if rows[0] in _ROWS else 0
    query = {
        "metrics": ["pageviews"], "dimensions": ["time:day", "event:page"], "filters": [],
        "date_range": ["2024-05-01", "2024-05-02"], "pagination": {"limit": 2, "offset": offset},
    }  # fmt: skip
    return {"results": found, "query": query, "meta": {}}


FORMS = {"Data API": _data_api, "version 4": _version_4, "version 3": _version_3, "Plausible": _plausible}


def _pages(tmp_path: Path, form: str, files: Files) -> dict[tuple[str, str], int]:
    last: dict[tuple[str, str], int] = {}
    found: dict[tuple[int, str, str, str], int] = {}
    for row in exported(tmp_path, "plausible" if form == "Plausible" else "ga4", files).rows():
        assert isinstance(row, Total)
        last[row.part, str(row.day)] = row.file
        key = row.file, row.part, str(row.day), row.rows[0].value
        found[key] = found.get(key, 0) + row.rows[0].pageviews
    return {(day, page): count for (file, part, day, page), count in found.items() if last[part, day] == file}


ALL = {("2024-05-01", "/a"): 5, ("2024-05-01", "/b"): 3, ("2024-05-02", "/a"): 2}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [1, 2])
def test_pages_that_cut_a_day(tmp_path: Path, form: str, cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [json.dumps(FORMS[form](rows, 3)) for rows in (_ROWS[:cut], _ROWS[cut:])]
    if form != "Plausible" or cut == 2:  # whose page of one row is not full
        assert _pages(tmp_path, form, {"1.json": pages[0], "2.json": pages[1]}) == ALL
        assert _pages(tmp_path, form, {"a.zip": zipped({"1.json": pages[0], "2.json": pages[1]})}) == ALL
        assert capsys.readouterr().err == ""
    assert _pages(tmp_path, form, {"all.json": "\n".join(pages)}) == ALL


@pytest.mark.parametrize("form", FORMS)
def test_a_page_that_lacks_is_told(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = json.dumps(FORMS[form](_ROWS[:2], 3))
    assert _pages(tmp_path, form, {"1.json": page}) == {key: ALL[key] for key in list(ALL)[:2]}
    told = capsys.readouterr().err
    assert "1.json has 2" in told and "and import all of them by one command" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_page_that_is_there_twice_counts_once(tmp_path: Path, form: str) -> None:
    page = json.dumps(FORMS[form](_ROWS[:1], 3))
    assert _pages(tmp_path, form, {"1.json": page, "1 (1).json": page}) == {("2024-05-01", "/a"): 5}


def _asked(rows: list[Any], offset: int, limit: int = 1, **query: Any) -> str:
    answer = _plausible(rows, 3)
    answer["query"] |= {"pagination": {"limit": limit, "offset": offset}, **query}
    return json.dumps(answer)


def test_pages_of_plausible_in_the_order_of_their_names(tmp_path: Path) -> None:
    pages = [_asked([row], offset) for offset, row in enumerate(_ROWS)]
    files = {"p1.json": pages[0], "p10.json": pages[2], "p2.json": pages[1], "q.json": json.dumps(_OTHER)}
    found = _pages(tmp_path, "Plausible", {**files, "p2 (1).json": pages[1]})
    assert found == ALL | {("2024-05-01", "DE"): 9}


_OTHER = _plausible([("20240501", "DE", 9)], 1)
_OTHER["query"] |= {"dimensions": ["time:day", "visit:country"], "pagination": {"limit": 10, "offset": 0}}
# What is behind an answer of the first two rows, and what is counted then.
NO_PAGES = {
    "a window that overlaps": (_asked(_ROWS[1:], 1, 2), [("2024-05-01", "/b"), ("2024-05-02", "/a")]),
    "another cut": (_asked(_ROWS[1:2], 2), [("2024-05-01", "/b")]),
    "another time": (_asked([("20240501", "/c", 4)], 2, date_range=["2024-05-01"] * 2), [("2024-05-01", "/c")]),
}


@pytest.mark.parametrize("case", NO_PAGES)
@pytest.mark.parametrize("in_one", [True, False])
def test_what_is_no_page_behind_it_of_plausible(
    tmp_path: Path, case: str, in_one: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    first, (second, wanted) = _asked(_ROWS[:2], 0, 2), NO_PAGES[case]
    files = {"1.json": f"{first}\n{second}"} if in_one else {"1.json": first, "2.json": second}
    assert list(_pages(tmp_path, "Plausible", files)) == wanted
    assert "and is no page behind the answer before it" in capsys.readouterr().err


def test_answers_of_two_months_are_two(tmp_path: Path) -> None:
    first, second = (json.dumps(_data_api([row], 1)) for row in _ROWS[:2])
    assert _pages(tmp_path, "Data API", {"1.json": first, "2.json": second}) == {("2024-05-01", "/b"): 3}


def test_a_sample_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampled = {"samplingMetadatas": [{"samplesReadCount": "500", "samplingSpaceSize": "1000"}]}
    _pages(tmp_path, "Data API", {"1.json": json.dumps(_data_api(_ROWS, 3) | {"metadata": sampled})})
    assert "is made of a sample of the visits" in capsys.readouterr().err


def test_umamis_pages_tell_how_many_rows_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"id": "e1", "sessionId": "s1", "urlPath": "/", "eventType": 1, "createdAt": "2024-05-01T12:00:00Z"}
    files = {"1.json": json.dumps({"data": [event], "count": 3, "page": 1}),
             "2.json": json.dumps({"data": [event | {"id": "e2"}], "count": 3, "page": 2})}  # fmt: skip
    assert len(list(exported(tmp_path, "umami", files).rows())) == 2
    assert "the pages have 2 of 3 rows" in capsys.readouterr().err


@pytest.mark.parametrize("count", [9, 10, 11, 100])
def test_as_many_visits_as_matomo_tells_by_itself_are_told(
    tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    action = {"type": "action", "url": "https://example.com/", "timestamp": 1714564800}
    visits = [{"idSite": 1, "idVisit": number, "visitorId": "a1", "actionDetails": [action]} for number in range(count)]
    assert len(list(exported(tmp_path, "matomo", {"v.json": json.dumps(visits)}).rows())) == count
    assert ("filter_limit=-1" in capsys.readouterr().err) == (count in (10, 100))


@pytest.mark.parametrize("count", [99, 100, 101])
def test_as_many_rows_of_a_list_as_matomo_tells_by_itself_are_told(
    tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"label": f"/{number}", "nb_visits": 1, "segment": f"pageUrl==%2F{number}"} for number in range(count)]
    text = json.dumps({"2024-05-01": rows, "2024-05-02": rows[:50]})
    assert len(list(exported(tmp_path, "matomo", {"v.json": text}).rows())) == count + 50
    assert ("filter_limit=-1" in capsys.readouterr().err) == (count == 100)


_HEAD = "# Free form 1\n# 20240501-20240502\n\nDate,Page path,Views\n,,10,Grand total\n"
_RULE = "# ----\n# Free form 1\n# 20240501-20240502\n# ----\n\n"
_LINES = [f"{day},{page},{count}\n" for day, page, count in _ROWS]


@pytest.mark.parametrize("cut", [1, 2])
def test_downloads_of_a_range_that_have_no_row_in_common_are_pages(tmp_path: Path, cut: int) -> None:
    texts = [_HEAD + "".join(lines) for lines in (_LINES[:cut], _LINES[cut:])]
    assert _downloads(tmp_path, texts) == ALL


def test_a_download_again_replaces_the_former(tmp_path: Path) -> None:
    later = [_HEAD + "".join(_LINES), _HEAD + "".join(_LINES).replace("/a,5", "/a,6")]
    assert _downloads(tmp_path, later) == ALL | {("2024-05-01", "/a"): 6}
    longer = _HEAD.replace("20240502", "20240503") + _LINES[1]
    assert _downloads(tmp_path, [_HEAD + _LINES[0], longer]) == {("2024-05-01", "/b"): 3}


# Two downloads of one range: of the same days and values, which are only written otherwise.
OTHERWISE = {
    "days": ("Date,Page path,Views", "20240501,/a,5", "Date,Page path,Views", "2024-05-01,/a,6"),
    "a query": ("Date,Page path,Views", "20240501,/a?x=1,5", "Date,Page path,Views", "20240501,/a,6"),
    "a host": ("Date,Page,Views", "20240501,https://example.com/a,5", "Date,Page,Views", "20240501,/a,6"),
    "case": ("Date,Device category,Views", "20240501,Desktop,5", "Date,Device category,Views", "20240501,desktop,6"),
    "a code": ("Date,Country,Views", "20240501,Germany,5", "Date,Country ID,Views", "20240501,DE,6"),
    "names of columns": ("Date,Browser,Views", "20240501,A,5", "Datum,Browser,Aufrufe", "20240501,B,6"),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_downloads_that_are_written_otherwise_are_no_pages(tmp_path: Path, case: str) -> None:
    first, row, second, again = OTHERWISE[case]
    found = _downloads(tmp_path, [f"{_RULE}{first}\n{row}\n", f"{_RULE}{second}\n{again}\n"])
    assert list(found.values()) == [6]


@pytest.mark.parametrize("total", ["Grand total,,10", ",,10"])
def test_downloads_that_end_in_a_sum_are_pages(tmp_path: Path, total: str) -> None:
    head = f"{_RULE}Date,Page path,Views\n"
    texts = [head + "".join(lines) + total for lines in (_LINES[:1], _LINES[1:])]
    assert _downloads(tmp_path, texts) == ALL


def test_a_download_that_has_some_rows_of_the_former_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = f"{_RULE}Date,Page path,Views\n"
    found = _downloads(tmp_path, [head + "".join(_LINES), head + _LINES[0] + _LINES[2]])
    assert found == {("2024-05-01", "/a"): 5, ("2024-05-02", "/a"): 2}
    assert "has some rows of download (0).csv again, and others not" in capsys.readouterr().err


_HOURS = "Date,Hour,Browser,Sessions\n20240501,1,Chrome,7\n"


def test_a_table_that_is_refused_is_no_page(tmp_path: Path) -> None:
    head = f"{_RULE}Date,Page path,Views\n"
    hours = [_RULE + text for text in (_HOURS, _HOURS.replace("Chrome", "Safari"))]
    text = "\n".join([head + _LINES[0], *hours, head + _LINES[0].replace("5\n", "6\n")])
    assert _downloads(tmp_path, [text]) == {("2024-05-01", "/a"): 6}


def test_a_file_of_very_many_tables_is_refused(tmp_path: Path) -> None:
    text = "".join(f"{_RULE}Date,Page path,Views\n20240501,/{number},1\n" for number in range(400))
    with pytest.raises(ImportFailed, match="more than 300 tables"):
        _downloads(tmp_path, [text])


@pytest.mark.parametrize("form", list(FORMS)[:3])
def test_answers_that_have_a_row_in_common_are_no_pages(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (json.dumps(FORMS[form](rows, 4)) for rows in (_ROWS[:2], _ROWS[1:]))
    found = _pages(tmp_path, form, {"1.json": first, "2.json": second})
    assert found == {("2024-05-01", "/b"): 3, ("2024-05-02", "/a"): 2}
    assert "1.json has 2 of 4 rows" in capsys.readouterr().err


def _downloads(tmp_path: Path, texts: list[str]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], dict[int, int]] = {}
    last: dict[str, int] = {}
    files = {f"download ({number}).csv": text for number, text in enumerate(texts)}
    for row in exported(tmp_path, "ga4", files).rows():
        if isinstance(row, Total):
            last[str(row.day)] = row.file
            found.setdefault((str(row.day), row.rows[0].value), {})[row.file] = row.rows[0].pageviews
    return {key: of[last[key[0]]] for key, of in found.items() if last[key[0]] in of}
