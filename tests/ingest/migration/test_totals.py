"""Exports of totals: what the rows of Plausible's files come to."""

from __future__ import annotations

from datetime import date
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.logs.files import ImportFailed
from ingest.migration import goatcounter_json
from ingest.migration.daily import Numbers, by_day
from ingest.migration.export import Broken, Left
from ingest.migration.ga4 import reports as ga4_reports
from ingest.migration.members import members
from ingest.migration.totals import Counted, DayRow, Total, columns, look
from tests.ingest.migration import exports

FIRST, SECOND = date(2023, 2, 9), date(2023, 2, 10)


def read(*paths: Path) -> list[Counted]:
    told: list[str] = []
    found = list(import_module("ingest.migration.plausible").read(members(list(map(str, paths))), "", "", told.append))
    assert told == []
    return found


def test_plausible(tmp_path: Path) -> None:
    found = read(exports.plausible_zip(tmp_path / "export.zip"))
    (broken,) = (each for each in found if isinstance(each, Broken))
    assert (broken.number, broken.why) == (4, "the column 'visitors' has 'x', no count")
    rows = [(total.day, *row[:2], row[2:]) for total in found if isinstance(total, Total) for row in total.rows]
    assert {(day, dimension, value): numbers for day, dimension, value, numbers in rows if dimension} == {
        (FIRST, "page", "/docs"): (8, 8, 0, 0, 9, 9),
        (SECOND, "page", "/docs"): (5, 5, 0, 0, 5, 5),
        (FIRST, "source", "google.com"): (23, 25, 13, 8_249_000, 70, 70),
        (FIRST, "channel", "Organic Search"): (23, 25, 13, 8_249_000, 70, 70),
        (FIRST, "source", ""): (10, 12, 5, 100_000, 20, 20),
        (FIRST, "channel", "Direct"): (10, 12, 5, 100_000, 20, 20),
        (SECOND, "source", "news"): (4, 4, 2, 10_000, 5, 5),
        (SECOND, "channel", "Email"): (4, 4, 2, 10_000, 5, 5),
        (SECOND, "utm_source", "news"): (4, 4, 2, 10_000, 5, 5),
        (SECOND, "utm_medium", "email"): (4, 4, 2, 10_000, 5, 5),
        (SECOND, "campaign", "spring"): (4, 4, 2, 10_000, 5, 5),
        (FIRST, "country", "DE"): (7, 9, 4, 10_000, 12, 12),
        (FIRST, "region", "DE-BE"): (7, 9, 4, 10_000, 12, 12),
        (FIRST, "device", "desktop"): (89, 100, 56, 17_385_000, 251, 251),  # the laptops' row is beside it
        (FIRST, "browser", "Edge"): (1, 1, 0, 987_000, 3, 3),
        (FIRST, "browser", "Chrome"): (54, 60, 40, 6_627_000, 128, 128),
        (FIRST, "os", "macOS"): (1, 1, 0, 19_000, 2, 2),
        (FIRST, "entry_page", "/docs"): (28, 29, 13, 3_573_000, 64, 64),
        (FIRST, "exit_page", "/"): (1, 2, 0, 8_000, 24, 24),
        (FIRST, "event", "Signup"): (3, 0, 0, 0, 0, 4),
        (FIRST, "outbound", "https://other.example/"): (1, 0, 0, 0, 0, 2),
        (FIRST, "not_found", "/gone"): (1, 0, 0, 0, 0, 1),
    }
    assert [(day, value, numbers) for day, dimension, value, numbers in rows if not dimension][:2] == [
        (FIRST, "", (119, 134, 77, 21_070_000, 304, 304)),
        (FIRST, "events", (0, 0, 0, 0, 304, 304)),
    ]
    assert by_day(found, "UTC").days == {FIRST: Numbers(119, 134, 304), SECOND: Numbers(166, 180, 325)}


def reports(folder: Path, *texts: str) -> tuple[list[Counted], list[str]]:
    told: list[str] = []
    paths = exports.written(folder, {f"{number}.csv": text for number, text in enumerate(texts)})
    assert all(ga4_reports.is_report(member) for member in members(paths))
    return list(ga4_reports.read(members(paths), "", "", told.append)), told


def test_reports_of_ga4(tmp_path: Path) -> None:
    found, told = reports(tmp_path, exports.GA4_DAYS, exports.GA4_COUNTRIES)
    assert told == ["0.csv, line 7, column 8: 'Odd' is not known and not read"]
    total, first, second, broken, germany, unknown = found
    assert isinstance(total, Left) and isinstance(broken, Broken) and (total.number, broken.number) == (8, 11)
    day = date(2024, 5, 1)
    metrics = ("visitors", "visits", "bounces", "duration_ms", "pageviews", "events")
    assert first == Total(9, "report of days", day, [
        DayRow("", "", 8, 10, 4, 905_000, 30, 70), DayRow("", "events", pageviews=30, events=70),
    ], 0, metrics)  # fmt: skip
    assert isinstance(second, Total) and second.day == date(2024, 5, 2)
    assert germany == Total(5, "report of country", day, [DayRow("country", "DE", 5, 6)], 1, metrics[:2])
    assert unknown == Total(6, "report of country", day, [DayRow("country", "", 1, 1)], 1, metrics[:2])


def counted(found: list[Counted]) -> dict[tuple[str, str], list[int]]:
    """The numbers of each value of a dimension, as those rows add up that are written."""
    looked, sums = look(found), dict[tuple[str, str], list[int]]()
    for block in columns(found, looked.files, 100):
        for dimension, value, *numbers in zip(*list(block.values())[2:], strict=True):
            before = sums.setdefault((str(dimension), str(value)), [0] * 6)
            sums[str(dimension), str(value)] = [one + int(str(two)) for one, two in zip(before, numbers, strict=True)]
    return sums


def test_reports_of_one_thing_complete_and_replace_each_other(tmp_path: Path) -> None:
    found, told = reports(
        tmp_path,
        "Date,Active users,Sessions\n2023-03-05,8,10\n20230305,1,2\nGrand total,9,12\n,9,12\n2023-02-31,1,1\n",
        "Date,Views\n2023-03-05,30\n",
        "Date,Session source,Sessions\n20230305,google,10\n20230305,gone,1\n",
        "Date,Session source / medium,Sessions,Event count\n20230305,google / organic,7,9\n20230305,google / cpc,3,2\n",
    )
    assert told == []
    assert [(each.number, type(each)) for each in found if not isinstance(each, Total)] == [
        (4, Left), (5, Left), (6, Broken),
    ]  # fmt: skip
    assert counted(found) == {
        ("", ""): [9, 12, 0, 0, 30, 0],
        ("", "events"): [0, 0, 0, 0, 30, 0],
        ("source", "google.com"): [0, 10, 0, 0, 0, 11],
    }
    (third,) = (day for file, _, day in look(found).parts if file == 2)
    assert look(found).files["report of source: visits", third] == 3


def test_of_exports_that_overlap_the_last_one_counts(tmp_path: Path) -> None:
    later = exports.PLAUSIBLE["imported_pages"].replace("8,8,9", "9,9,9")
    paths = [
        exports.plausible_zip(tmp_path / "a.zip"), exports.plausible_zip(tmp_path / "b.zip", imported_pages=later),
    ]  # fmt: skip
    both, last = read(*paths), read(paths[1])
    assert counted(both) == counted(last) != counted(read(paths[0]))
    assert look(both).digests == look(last).digests
    assert by_day(both, "UTC").days == by_day(last, "UTC").days


def test_numbers_that_an_export_does_not_tell_are_not_0(tmp_path: Path) -> None:
    files = members([str(exports.goatcounter_zip(tmp_path / "export.zip"))])
    assert by_day(goatcounter_json.read(files, "", "", lambda _: None), "UTC").untold == {"visitors", "visits"}
    assert by_day(reports(tmp_path, "Date,Sessions\n20240501,2\n")[0], "UTC").untold == {"visitors", "pageviews"}
    assert by_day(read(exports.plausible_zip(tmp_path / "a.zip")), "UTC").untold == frozenset()


def test_the_json_of_goatcounter(tmp_path: Path) -> None:
    files = members([str(exports.goatcounter_zip(tmp_path / "export.zip"))])
    assert goatcounter_json.is_totals(files)
    told: list[str] = []
    found = list(goatcounter_json.read(files, "", "", told.append))
    assert told == []
    (broken,) = (each for each in found if isinstance(each, Broken))
    assert (broken.number, broken.why) == (5, "hit_stats: the path 7 is not in paths.jsonl")
    assert [each for each in found if isinstance(each, Left)] == [Left(2, "of_event")]
    day, next_day = date(2026, 3, 5), date(2026, 3, 6)
    rows = [(each.day, *row) for each in found if isinstance(each, Total) for row in each.rows]
    counted = {(of, dimension, value): (visitors, views, events)
               for of, dimension, value, visitors, _, _, _, views, events in rows if dimension not in ("", "page")}
    assert counted == {
        (day, "source", ""): (4, 4, 4), (day, "channel", "Direct"): (4, 4, 4),
        (day, "source", "some list"): (3, 3, 3), (day, "channel", "Referral"): (3, 3, 3),
        (next_day, "source", "google.com"): (2, 2, 2), (next_day, "channel", "Organic Search"): (2, 2, 2),
        (next_day, "event", "signup"): (1, 0, 1), (day, "browser", "Firefox"): (7, 7, 7),
        (day, "os", "Windows"): (7, 7, 7),
        (day, "country", "RO"): (7, 7, 7), (day, "region", "RO-B"): (7, 7, 7), (day, "device", "desktop"): (7, 7, 7),
    }  # fmt: skip
    assert [row[2:4] + row[-2:] for row in rows if row[1] in ("", "page")] == [
        ("/", 4, 4, 4), ("events", 0, 4, 4), ("/", 3, 3, 3), ("events", 0, 3, 3), ("/", 2, 2, 2), ("events", 0, 2, 2),
        ("events", 0, 0, 1),
    ]  # fmt: skip
    (tmp_path / "info.json").write_text('{"export_version": "2.0"}')
    with pytest.raises(ImportFailed, match="only version 1"):
        list(goatcounter_json.read(members([str(tmp_path / "info.json")]), "", "", told.append))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no report of Google Analytics with Total users.*: it has a, b"),
        (exports.GA4_COUNTRIES.replace("End date: 20240501", "End date: 20240531"), "is of 20240501 to 20240531"),
        ("Date,Country,City,Sessions\n", "download it with one of Country, City beside Date"),
    ],
)
def test_a_report_that_is_not_of_days_is_said_in_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ImportFailed, match=words):
        reports(tmp_path, text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", ["imported_visitors_20230209_20230211.csv", "days.csv"])
def test_a_damaged_file_is_read_or_refused_in_words(tmp_path: Path, name: str, data: st.DataObject) -> None:
    whole = (exports.PLAUSIBLE["imported_visitors"] if "imported" in name else exports.GA4_DAYS).encode()
    at = data.draw(st.integers(0, len(whole)))
    until = data.draw(st.integers(at, min(at + 20, len(whole))))
    (tmp_path / name).write_bytes(whole[:at] + data.draw(st.binary(max_size=9)) + whole[until:])
    reader = import_module("ingest.migration.plausible") if "imported" in name else ga4_reports
    try:
        found = list(reader.read(members([str(tmp_path / name)]), "", "", lambda _: None))
    except ImportFailed:
        return
    looked = look(found)
    assert sum(looked.rows.values()) + len(looked.left) + len(looked.broken) == len(found)
    rows = [row for each in found if isinstance(each, Total) for row in each.rows]
    assert all(0 <= number < 2**63 for row in rows for number in row[2:])


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e300", "x"])
def test_what_is_no_count_is_not_understood(tmp_path: Path, text: str) -> None:
    found, _ = reports(tmp_path, f"Date,Sessions,Average session duration\n20240501,1,{text}\n20240502,1,2\n")
    assert [type(each) for each in found] == [Broken, Total]


def test_a_day_is_the_same_in_any_order_and_another_with_any_other_number() -> None:
    one, two = (Total(1, "part", FIRST, [DayRow("page", name, 1)]) for name in "ab")
    other = Total(1, "part", FIRST, [DayRow("page", "a", 2)])
    assert look([one, two]).digests == look([two, one]).digests
    assert len({look(each).digests["part", FIRST] for each in ([one], [two], [one, one], [other], [one, two])}) == 5


def test_only_the_days_that_are_taken_are_written() -> None:
    days = [(number, day) for number in (1, 2) for day in (FIRST, SECOND)]
    totals: list[Counted] = [Total(n, "part", day, [DayRow("page", str(n), n)]) for n, day in days]
    found = list(columns(totals, {("part", SECOND): 0}, 1))
    assert [(each["day"], each["value"], each["visitors"]) for each in found] == [
        (["2023-02-10"], ["1"], [1]),
        (["2023-02-10"], ["2"], [2]),
    ]


def test_another_file_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("a,b\n")
    with pytest.raises(ImportFailed, match=r"some\.csv is no file of Plausible's export.*imported_visitors_"):
        read(tmp_path / "some.csv")
    (tmp_path / "imported_pages.csv").write_text("date,visitors,page\n")
    with pytest.raises(ImportFailed, match="the column 'pageviews' is missing; there is date, visitors, page"):
        read(tmp_path / "imported_pages.csv")
