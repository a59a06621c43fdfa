"""Answers, lists and tables that are damaged or made up: a row is counted once, or the file refused in words."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from infra.commands.migration import Exported
from ingest.logs.files import ImportFailed
from ingest.migration.dates import DAY_FIRST, MONTH_FIRST, Unclear, day_of, order_of
from ingest.migration.export import Action, Broken, Left
from ingest.migration.totals import Total, columns, look
from tests.ingest.migration import test_answers, test_ga4_reports, test_matomo_days, test_plausible
from tests.ingest.migration.exports import SITE, taken, written
from tests.ingest.migration.test_hostile_exports import _JSON, _places, _with

DAMAGE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FILES: dict[str, tuple[str, str | bytes]] = {
    "ga4 of the api": ("ga4", test_ga4_reports.ANSWERS["batch"]),
    "ga4 version 4": ("ga4", test_ga4_reports.ANSWERS["version 4"]),
    "ga4 day index": ("ga4", test_ga4_reports.DAYS["day index"][0]),
    "ga4 japanese": ("ga4", test_ga4_reports.DAYS["japanese active"][0]),
    "matomo xml": ("matomo", test_matomo_days.FORMS["xml"]),
    "matomo sites": ("matomo", test_matomo_days.SITES["json"]),
    "matomo list": ("matomo", json.dumps({"2024-05-01": [test_matomo_days.LISTS["getPageUrls"][0]]})),
    "plausible csv": ("plausible", test_plausible.TABLES["CSVWithNames"]),
    "plausible tsv": ("plausible", test_plausible.TABLES["TSVWithNames"]),
    "plausible json": ("plausible", test_plausible.TABLES["JSON"]),
    "plausible days": ("plausible", test_plausible.SERIES),
    "umami json": ("umami", json.dumps({"data": [test_answers._EVENT, test_answers._OTHER]})),
    "umami days": ("umami", json.dumps(test_answers._SERIES)),
    "goatcounter": ("goatcounter", json.dumps({"hits": test_answers._HITS})),
}  # fmt: skip
OF_JSON = [name for name, (_, text) in FILES.items() if text[:1] == "{"]


def _check(tmp_path: Path, product: str, content: str | bytes) -> None:
    try:
        exported = Exported(product, written(tmp_path, {"file": content}), SITE, "", None)
        rows = list(exported.rows())
    except (ImportFailed, click.UsageError):
        return
    if not exported.of_days:
        assert all(isinstance(row, Action | Left | Broken) for row in rows)
        if rows:
            batch, _ = taken(rows)
            assert len(batch.accepted) + sum(batch.refused.values()) + len(batch.not_understood) == len(rows)
        return
    assert all(isinstance(row, Total | Left | Broken) for row in rows)
    looked = look(rows)
    assert sum(looked.rows.values()) + len(looked.left) + len(looked.broken) == len(rows)
    for block in columns(rows, looked.files, 100):
        assert all(0 <= int(str(number)) < 2**63 for name, values in block.items() for number in values
                   if name not in ("part", "day", "dimension", "value"))  # fmt: skip


@DAMAGE
@given(data=st.data())
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused_in_words(tmp_path: Path, name: str, data: st.DataObject) -> None:
    product, text = FILES[name]
    whole = text if isinstance(text, bytes) else text.encode()
    at = data.draw(st.integers(0, len(whole)))
    until = data.draw(st.one_of(st.just(len(whole)), st.integers(at, min(at + 40, len(whole)))))
    _check(tmp_path, product, whole[:at] + data.draw(st.binary(max_size=12)) + whole[until:])


@DAMAGE
@given(data=st.data())
@pytest.mark.parametrize("name", OF_JSON)
def test_any_value_in_any_place_is_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    product, text = FILES[name]
    whole: Any = json.loads(text)
    path = data.draw(st.sampled_from(_places(whole)[1:]))
    _check(tmp_path, product, json.dumps(_with(whole, path, data.draw(_JSON | st.just("\ud800")))))


_DAYS = st.dates(date(1990, 1, 1), date(2099, 12, 31))


_FORMS = ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%d %B %Y", "%B %d, %Y", "%A, %B %d, %Y"]


@given(day=_DAYS, form=st.sampled_from(_FORMS))
def test_a_day_is_read_as_it_was_written(day: date, form: str) -> None:
    assert day_of(day.strftime(form)) == day


@given(first=_DAYS, count=st.integers(3, 80), form=st.sampled_from(["%d/%m/%Y", "%m/%d/%Y"]), reverse=st.booleans())
def test_days_in_a_row_are_read_in_the_order_in_which_they_were_written(
    first: date, count: int, form: str, reverse: bool
) -> None:
    assume(first.year < 2099)
    days = [first + timedelta(number) for number in range(count)]
    assume((first.month, days[-1].month) != (1, 1) or days[-1].day > 12)  # which may be months
    texts = [day.strftime(form) for day in (reversed(days) if reverse else days)]
    order = order_of(texts)
    assert sorted(filter(None, (day_of(text, order) for text in texts))) == days
    assert order == (DAY_FIRST if form == "%d/%m/%Y" else MONTH_FIRST)


@given(
    year=st.integers(1990, 2098),
    months=st.lists(st.integers(1, 12), min_size=3, unique=True),
    form=st.sampled_from(["%d/%m/%Y", "%m/%d/%Y"]),
)
def test_months_are_never_taken_for_days(year: int, months: list[int], form: str) -> None:
    with pytest.raises(Unclear):
        order_of(date(year, month, 1).strftime(form) for month in months)


def test_days_and_months_that_are_each_others_are_not_told_apart() -> None:
    with pytest.raises(Unclear):
        order_of(["01/01/2024", "01/02/2024", "02/01/2024"])
