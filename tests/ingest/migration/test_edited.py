"""Exports that went through spreadsheets and hands before they came here, each with what it still says."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from ingest.logs.files import ImportFailed
from ingest.migration.dates import DAY_FIRST, MONTH_FIRST, Unclear, day_of, order_of, time_of_day
from ingest.migration.totals import count_of
from tests.ingest.migration import exports
from tests.ingest.migration.exports import Files, actions, exported, numbers, taken, zipped

DAYS = {
    "2024-05-01": (2024, 5, 1), "20240501": (2024, 5, 1), " 2024-05-01 ": (2024, 5, 1), "2024-5-1": (2024, 5, 1),
    "2024/5/1": (2024, 5, 1), "2024.05.01": (2024, 5, 1), "2024. 5. 1.": (2024, 5, 1), "2024年5月1日": (2024, 5, 1),
    "2024-05-01T00:00:00Z": (2024, 5, 1),
    "2024-05-01 00:00:00.000": (2024, 5, 1), "2024-05-01T00:00+02:00": (2024, 5, 1),
    "2024-05-01 00:00:00 UTC": (2024, 5, 1), "01.05.2024": (2024, 5, 1), "1.5.24": (2024, 5, 1),
    "1. 5. 2024": (2024, 5, 1),
    "01.05.2024 00:00": (2024, 5, 1), "May 1, 2024": (2024, 5, 1), "Wed, May 1, 2024": (2024, 5, 1),
    "Wednesday, May 1, 2024": (2024, 5, 1), "1 May 2024": (2024, 5, 1), "1. Mai 2024": (2024, 5, 1),
    "1 mai 2024": (2024, 5, 1),
    "1 de mayo de 2024": (2024, 5, 1), "mercredi 1 mai 2024": (2024, 5, 1), "Sept. 3, 2024": (2024, 9, 3),
    "5 févr. 2024": (2024, 2, 5), "3 mrt. 2024": (2024, 3, 3), "45413": (2024, 5, 1), "13/05/2024": (2024, 5, 13),
    "2024-05-01 13:00:00": None, "2024-05": None, "2024": None, "202405": None, "2024-13-01": None, "31.02.2024": None,
    "30-Dec-21": (2021, 12, 30), "1-May-2024": (2024, 5, 1), "1/mai/2024": (2024, 5, 1), "1-Mai-24": (2024, 5, 1),
    "May 1st, 2024": (2024, 5, 1), "1er mai 2024": (2024, 5, 1), "1 de mai. de 2024": (2024, 5, 1),
    "2024년 5월 1일": (2024, 5, 1), "2024년 5월 1일 수요일": (2024, 5, 1), "2024年5月1日水曜日": (2024, 5, 1),
    "2024/05/01(水)": (2024, 5, 1), "2024/05/01 (Wed)": (2024, 5, 1), "Wed 2024-05-01": (2024, 5, 1),
    "2024-05-01 12:00:00 AM": (2024, 5, 1), "20240501.0": (2024, 5, 1), "45413.0": (2024, 5, 1),
    "2024-05-01 12:00:00 PM": None, "1-Foo-24": None, "Wed 01/05/2024": None, "20240501.5": None, "1.0": None,
    "2024-05-01(x": None, "Wed": None, "5-2024": None, "2024-05-01" + " " * 200 + "x": None,
    "1889-05-01": None, "2100-01-01": None, "12345": None, "": None, "yesterday": None, "1 Foo 2024": None,
    "5/13/2024": None,
    "-2024-05-01": None, "2024-05-01 x": None,
    "Total 2024-05-01": None, "Week 2024-05-01": None, "KW 20240501": None, "Total 1 May 2024": None,
    "2024-05-01 (partial)": None, "quarta-feira, 1 de maio de 2024": (2024, 5, 1), "Mi., 1. Mai 2024": (2024, 5, 1),
}  # fmt: skip


def test_days_in_any_form() -> None:
    assert {text: day_of(text) for text in DAYS} == {text: date(*day) if day else None for text, day in DAYS.items()}
    assert day_of("5/13/2024", MONTH_FIRST) == date(2024, 5, 13)


def test_what_decides_how_days_are_read() -> None:
    first, last = date(2024, 2, 1), date(2024, 2, 28)
    assert order_of(["2024-05-01", "20240502"]) == DAY_FIRST
    assert order_of(["01/02/2024", "13/02/2024"]) == DAY_FIRST
    assert order_of(["01/02/2024", "02/13/2024"]) == MONTH_FIRST
    assert order_of(["2/1/24", "2/2/24"], first, last) == MONTH_FIRST
    assert order_of(["1/2/24", "2/2/24"], first, last) == DAY_FIRST
    assert order_of(["01/02/2024", "02/02/2024", "03/02/2024"]) == DAY_FIRST
    assert order_of(["02/03/2024", "02/02/2024", "02/01/2024"]) == MONTH_FIRST
    assert order_of(["1/1/20", "2/2/20"]) == DAY_FIRST  # it is the same day in both
    for texts in (["01/02/2024"], ["01/02/2024", "01/02/2024"], ["13/02/2024", "02/13/2024"]):
        with pytest.raises(Unclear):
            order_of(texts)


COUNTS = {
    "1234": 1234, "1,234": 1234, "1.234": 1234, "1 234": 1234, "1\u00a0234": 1234, "1\u202f234": 1234, "1'234": 1234,
    "1,234.00": 1234, "1.234,00": 1234, "1234.0": 1234, "1234,0": 1234,
    "12,34,567": 1_234_567, "１，２３４": 1234, "0": 0,
    "-5": None, "1e3": None, "1,23E+05": None, "1.5": None, "12,5": None, "": None, "x": None,
    "1" * 16: None, "+5": None,
    "1234.50": None,
}  # fmt: skip


def test_counts_in_any_form() -> None:
    assert {text: count_of(text) for text in COUNTS} == COUNTS


HEAD = "2Path,Title,Event,Browser,System,Session,Bot,Referrer,Referrer scheme,Screen size,Location,FirstVisit,Date"
ONE = "/a,Caf\u00e9,false,Firefox 139,Linux,s1,0,,,,DE,true,2024-05-01T12:00:00Z"
TWO = "/b,,false,,,s1,0,,,,DE,,2024-05-01T12:01:00Z"
EVENTS: dict[str, str | bytes] = {
    "semicolons of excel": f"sep=;\r\n{HEAD}\r\n{ONE}\r\n{TWO}\r\n".replace(",", ";"),
    "windows' own": f"{HEAD}\r\n{ONE}\r\n{TWO}\r\n".encode("cp1252"),
    "columns and rows of nothing": f"{HEAD},,\n{ONE},,\n,,,,,,,,,,,,,,\n{TWO},,\n\n",
    "two in one": f"{HEAD}\n{ONE}\n{HEAD}\n{TWO}\n",
    "all quoted": "\n".join(",".join(f'"{each}"' for each in line.split(",")) for line in (HEAD, ONE, TWO)),
    "a mark and quotes": "\ufeff"
    + "\n".join(",".join(f'"{each}"' for each in line.split(",")) for line in (HEAD, ONE, TWO)),
    "tabs in UTF-16": f"{HEAD}\r\n{ONE}\r\n{TWO}\r\n".replace(",", "\t").encode("utf-16"),
    "excel on an old mac": f"{HEAD}\r{ONE}\r{TWO}\r",
    "no end": f"{HEAD}\n{ONE}\n{TWO}",
    "old line ends of two kinds": f"{HEAD}\r\n{ONE}\n{TWO}\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
def test_page_views(tmp_path: Path, name: str) -> None:
    batch, events = taken(list(exported(tmp_path, "goatcounter", {"a.csv": EVENTS[name]}).rows()))
    assert [(event.path, event.title) for event in events] == [("/a", "Caf\u00e9"), ("/b", "")]
    assert (batch.refused, batch.not_understood) == ({}, [])


VISITORS = "date,visitors,pageviews,bounces,visits,visit_duration\n"
BOTH = {"2024-05-13": [10, 12, 30], "2024-05-14": [5, 6, 7]}
TOTALS: dict[str, str | bytes] = {
    "germany": f"{VISITORS}13.05.2024,10,30,6,12,90\n14.05.2024,5,7,1,6,9\n".replace(",", ";"),
    "britain": f"{VISITORS}13/05/2024,10,30,6,12,90\n14/05/2024,5,7,1,6,9\n",
    "america": f"{VISITORS}5/13/2024,10,30,6,12,90\n5/14/2024,5,7,1,6,9\n",
    "with the time": f"{VISITORS}2024-05-13 00:00:00,10,30,6,12,90\n2024-05-14 00:00:00,5,7,1,6,9\n",
    "as numbers": f"{VISITORS}45425,10,30,6,12,90\n45426,5,7,1,6,9\n",
    "wrong order": f"{VISITORS}2024-05-14,5,7,1,6,9\n2024-05-13,10,30,6,12,90\n",
    "empty rows": f"{VISITORS}2024-05-13,10,30,6,12,90\n,,,,,\n2024-05-14,5,7,1,6,9\n,,,,,\n",
    "a later one below": f"{VISITORS}2024-05-13,10,30,6,12,90\n2024-05-14,4,4,1,4,9\n{VISITORS}2024-05-14,5,7,1,6,9\n",
    "columns moved": "visits,date,visitors,bounces,visit_duration,pageviews\n12,2024-05-13,10,6,90,30\n"
    "6,2024-05-14,5,1,9,7\n",
    "decimals": f"{VISITORS}2024-05-13,10.0,30.00,6.0,12.0,90.0\n2024-05-14,5.0,7.0,1.0,6.0,9.0\n",
}  # fmt: skip


@pytest.mark.parametrize("name", TOTALS)
def test_days_of_plausible(tmp_path: Path, name: str) -> None:
    files = {"imported_visitors_20240513_20240514.csv": TOTALS[name]}
    assert numbers(tmp_path, "plausible", files) == BOTH


_DASHBOARD = "date,visitors,pageviews,visits,views_per_visit,bounce_rate,visit_duration\n"
_FIVE = [f"2024-05-0{day},{day},{day},{day},1,50,10\n" for day in range(1, 6)]
DASHBOARDS = {
    "whole": (_FIVE, [1, 2, 3, 4, 5]), "downwards": (_FIVE[::-1], [1, 2, 3, 4, 5]),
    "without a line": (_FIVE[:1] + _FIVE[2:], [1, 3, 4, 5]),
    "percentages": ([line.replace(",50,", ',"50,0 %",') for line in _FIVE], [1, 2, 3, 4, 5]),
}  # fmt: skip


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboard_of_plausible(tmp_path: Path, name: str) -> None:
    lines, visitors = DASHBOARDS[name]
    found = numbers(tmp_path, "plausible", {"visitors.csv": _DASHBOARD + "".join(lines)})
    assert [day[0] for day in found.values()] == visitors


def test_weeks_of_which_the_first_is_not_whole_are_no_days(tmp_path: Path) -> None:
    lines = [f"{day},1,1,1,1,50,10\n" for day in ("2024-05-03", "2024-05-06", "2024-05-13", "2024-05-20")]
    with pytest.raises(ImportFailed, match="of weeks or months"):
        numbers(tmp_path, "plausible", {"visitors.csv": _DASHBOARD + "".join(lines)})


@pytest.mark.parametrize("form", ["01/{:02}/2024", "{}/1/2024"])
def test_months_that_a_spreadsheet_wrote_are_no_days(tmp_path: Path, form: str) -> None:
    lines = [f"{form.format(month)},1,1,1,1,50,10\n" for month in range(1, 13)]
    with pytest.raises(ImportFailed, match="these may be months"):
        numbers(tmp_path, "plausible", {"visitors.csv": _DASHBOARD + "".join(lines)})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2024-05-01,10,10,10,1,150,10\n", "'bounce_rate' has '150', no share"),
        ("2024-05-01,10,10,10,1,-1,10\n", "'bounce_rate' has '-1', no share"),
        ("2024-05-01,10,10,10,1,x,10\n", "'bounce_rate' has 'x', no share"),
        ("2024-05-01,-10,10,10,1,50,10\n", "'visitors' has '-10', no count"),
        ("01/02/24 x,10,10,10,1,50,10\n", "no day such as 2024-05-01"),
    ],
)
def test_what_is_no_number_is_not_understood(tmp_path: Path, line: str, why: str) -> None:
    text = _DASHBOARD + "".join(_FIVE) + line
    found = list(exported(tmp_path, "plausible", {"visitors.csv": text}).rows())
    assert next(row.why for row in found if hasattr(row, "why")).endswith(why)


def test_numbers_that_would_be_too_large_are_bounded(tmp_path: Path) -> None:
    text = _DASHBOARD + "".join(_FIVE) + "2024-05-06,999999999999999,1,999999999999999,1,50,999999999999999\n"
    *_, last = exported(tmp_path, "plausible", {"visitors.csv": text}).rows()
    assert last.rows[0].duration_ms == 10**18


NAMES = [
    "imported_visitors.csv", "example.com imported_visitors_20240513_20240514.csv", "Imported.csv", "days (1).csv",
    "imported_visitors_20240513_20240514.csv.txt", "imported_visitors_20240513_20240514 - Kopie.csv",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_plausible_by_another_name(tmp_path: Path, name: str) -> None:
    assert numbers(tmp_path, "plausible", {name: TOTALS["columns moved"]}) == BOTH


def test_of_what_stands_in_a_file_twice_the_last_counts(tmp_path: Path) -> None:
    head, *rows = exports.PLAUSIBLE["imported_pages"].splitlines(keepends=True)
    later = rows[0].replace("8,8,9", "9,9,9")
    found = list(exported(tmp_path, "plausible", {"imported_pages.csv": "".join([head, *rows, rows[1], later])}).rows())
    assert [getattr(row, "reason", "") for row in found] == ["repeated", "repeated", "", ""]
    assert [(row.day.day, row.rows[0].visitors) for row in found if hasattr(row, "rows")] == [(10, 5), (9, 9)]
    text = "Date,Country,Sessions\n20240501,Germany,5\n20240501,France,1\n20240501,Germany,6\n"
    found = list(exported(tmp_path, "ga4", {"report.csv": text}).rows())
    assert [row.rows[0][:4] for row in found if hasattr(row, "rows")] == [
        ("country", "FR", 0, 1), ("country", "DE", 0, 6)]


JAPANESE = "日付,国,セッション\n20240501,日本,10\n20240501,ドイツ,5\n"


@pytest.mark.parametrize("codec", ["cp932", "euc_jp", "utf-8", "utf-8-sig", "utf-16"])
def test_japanese_of_excel(tmp_path: Path, codec: str) -> None:
    rows = list(exported(tmp_path, "ga4", {"report.csv": JAPANESE.encode(codec)}).rows())
    assert [row.rows[0][:4] for row in rows] == [("country", "JP", 0, 10), ("country", "DE", 0, 5)]


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    batch, _ = taken(list(exported(tmp_path, "goatcounter", {"a.csv": f"{HEAD}\n{ONE}\n", "b.csv": ""}).rows()))
    assert len(batch.accepted) == 1


DOCUMENTS = {
    "a.ods": {"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": "<x/>"},
    "a.numbers": {"Index/Document.iwa": "x"},
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_no_exports(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImportFailed, match="is a document of LibreOffice or Numbers: save it as CSV"):
        exported(tmp_path, "ga4", {name: zipped(DOCUMENTS[name])})


def test_lists_of_plausible_by_other_names(tmp_path: Path) -> None:
    files = {f"{number}.csv": exports.PLAUSIBLE[name] for number, name in enumerate(exports.PLAUSIBLE)}
    found = {row.part for row in exported(tmp_path, "plausible", files).rows() if hasattr(row, "part")}
    assert found == {*exports.PLAUSIBLE}


def test_an_old_dashboard_has_no_visits(tmp_path: Path) -> None:
    text = "date,visitors,pageviews,bounce_rate,visit_duration\n2021-05-01,10,30,50,90\n2021-05-02,5,7,,\n"
    days = {"2021-05-01": [10, 0, 30], "2021-05-02": [5, 0, 7]}
    assert numbers(tmp_path, "plausible", {"visitors.csv": text}) == days


def test_names_in_a_zip_of_windows(tmp_path: Path) -> None:
    packed = zipped({"export/imported_visitors.csv": TOTALS["wrong order"]})
    packed = packed.replace(b"export/imported", b"export\\imported")
    assert numbers(tmp_path, "plausible", {"a.zip": packed}) == BOTH


def test_unclear_days_are_refused_in_words(tmp_path: Path) -> None:
    text = f"{VISITORS}01/02/2024,10,30,6,12,90\n"
    with pytest.raises(ImportFailed, match="nobody can tell whether '01/02/2024' begins with the day or the month"):
        numbers(tmp_path, "plausible", {"imported_visitors.csv": text})


_PAGES = [json.dumps([exports.MATOMO_API[0] | {"idVisit": str(number), "actionDetails": [
    exports.MATOMO_API[0]["actionDetails"][0] | {"pageId": number}]}]) for number in (1, 2)]  # fmt: skip
TIMES = {
    "2024-05-01 12:00:00": "2024-05-01T12:00:00", "2024-05-01T12:00:00Z": "2024-05-01T12:00:00Z",
    "2024-05-01 12:00:00 UTC": "2024-05-01T12:00:00", "2024-05-01 14:00:00.123+02": "2024-05-01T14:00:00.123+02",
    "01.05.2024 12:00": "2024-05-01T12:00", "1.5.2024 9:00": "2024-05-01T09:00",
    "2024/05/01 12:00:00": "2024-05-01T12:00:00",
    "1714564800": "1714564800000", "1714564800000": "1714564800000",
    "5/1/2024 12:00": "5/1/2024T12:00", "yesterday": "yesterday", "": "",
}  # fmt: skip


def test_times_in_any_form() -> None:
    assert {text: time_of_day(text) for text in TIMES} == TIMES


def test_page_views_whose_times_a_spreadsheet_has_turned(tmp_path: Path) -> None:
    text = f"{HEAD}\n{ONE}\n{TWO}\n".replace(
    "2024-05-01T12:00:00Z", "01.05.2024 12:00").replace("2024-05-01T12:01:00Z", "x")
    batch, (event,) = taken(list(exported(tmp_path, "goatcounter", {"a.csv": text}).rows()))
    assert (event.occurred_at, batch.refused) == (1_714_564_800_000, {"invalid_time": 1})
    assert "such as 2024-05-31T12:00:00Z" in batch.refused_lines[0][1]


JSON: dict[str, str | bytes] = {
    "arrays one after the other": "".join(_PAGES), "arrays by line": "\n".join(_PAGES) + "\n",
    "an array of arrays": f"[{','.join(_PAGES)}]", "powershell": ("[" + ",".join(_PAGES) + "]").encode("utf-16"),
    "a mark": b"\xef\xbb\xbf" + "\n".join(_PAGES).encode(),
    "objects one after the other": "".join(page[1:-1] for page in _PAGES),
    "objects in several lines": "\n".join(json.dumps(json.loads(page)[0], indent=4) for page in _PAGES),
    "lists as PHP writes them with gaps": json.dumps({"2024-05-01": {
        "0": json.loads(_PAGES[0])[0], "2": json.loads(_PAGES[1])[0]}}),
    "broken behind the first name": "\n".join(page[1:-1].replace(", ", ",\n ", 3) for page in _PAGES),
}  # fmt: skip


@pytest.mark.parametrize("name", JSON)
def test_answers_that_were_put_together(tmp_path: Path, name: str) -> None:
    rows = list(exported(tmp_path, "matomo", {"visits.json": JSON[name]}).rows())
    assert [row.event["id"] for row in actions(rows)] == ["matomo:1", "matomo:2"]
    assert len(rows) == 2


def test_of_arrays_that_break_off_the_rest_is_told(tmp_path: Path) -> None:
    rows = list(exported(tmp_path, "matomo", {"visits.json": _PAGES[0] + _PAGES[1][:-20]}).rows())
    assert (len(actions(rows)), [row.why[:20] for row in rows if hasattr(row, "why")]) == (1, ["the array breaks off"])


def test_texts_of_windows_in_a_dump(tmp_path: Path) -> None:
    text = exports.umami_mysql().replace("'Pricing'", "'Preise f\u00fcr Caf\u00e9s'").encode("cp1252")
    _, events = taken(list(exported(tmp_path, "umami", {"dump.sql": text}).rows()))
    assert events[1].title == "Preise f\u00fcr Caf\u00e9s"


def test_a_damaged_letter_spoils_no_other(tmp_path: Path) -> None:
    files: Files = {"a.zip": zipped({"a.csv": f"{HEAD}\n{ONE}\n".replace("Caf\u00e9", "\u65e5\u672c").encode()
                                     .replace(b"\x97\xa5", b"\x97\xa5\xff")})}  # fmt: skip
    _, (event,) = taken(list(exported(tmp_path, "goatcounter", files).rows()))
    assert event.title == "\u65e5\ufffd\u672c"
