"""The command line names the rules that there are, and the page about them has their sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from activity.definitions import MINUTE_MS
from activity.rules import LONGEST_GAP_MS, PRODUCTS, chosen
from infra.commands import rules

ROOT = Path(__file__).parents[2]


def test_the_command_line_offers_the_products_whose_rules_there_are() -> None:
    assert list(rules.SOURCES) == list(PRODUCTS)
    assert rules.LONGEST_GAP * MINUTE_MS == LONGEST_GAP_MS


@pytest.mark.parametrize("page", ["docs/rules.md", "activity/rules.py"])
def test_every_source_stands_beside_the_rules_too(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [url for urls in rules.SOURCES.values() for url in urls if url not in text] == []


def test_the_columns_stand_below_one_another_whatever_is_asked_for() -> None:
    sums = {"visits": 3, "pageviews": 4, "views_per_visit": 1.3, "bounce_rate": 0.5, "visit_duration": 61.0}
    longest = chosen(["ga4", "plausible"], rules.LONGEST_GAP * MINUTE_MS, midnight=True, campaign=True)
    rows = [rules._told({"day": "2026-06-01", "site": "a", "rules": by.name, **sums}, {}) for by in longest]
    assert {len(row) for row in rows} == {len(rules._COLUMNS)}
