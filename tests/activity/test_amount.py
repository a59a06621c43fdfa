"""Amounts of money in the notations of shops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity import amount


@pytest.mark.parametrize(
    ("given", "currency", "read"),
    [
        (12.5, "eur", ("12.5", "EUR")),
        ("1.234,50 €", "", ("1234.5", "EUR")),
        ("£1,234.50", "", ("1234.5", "GBP")),
        ("R$ 10,00", "", ("10", "BRL")),
        ("10 zł", "", ("10", "PLN")),
        ("US$10", "", ("10", "USD")),
        ("$10", "", ("10", "")),
        ("12", "€", ("12", "EUR")),
        ("12", "Bitcoin", ("12", "")),
        ("−5,00", "", ("-5", "")),
        ("0.00012345", "BTC", ("0.0001", "BTC")),
        ("₹1,23,456.78", "", ("123456.78", "INR")),
        ("(12.50)", "USD", ("-12.5", "USD")),
        ("-€12.50", "", ("-12.5", "EUR")),
        ("€ -12.50", "", ("-12.5", "EUR")),
        ("12,- €", "", ("12", "EUR")),
        ("١٢٫٥٠", "", ("12.5", "")),
        ("10.11.12", "", None),
        ("1-2", "", None),
        ("free", "EUR", None),
        ("", "", None),
        ("nan", "", None),
    ],
)
def test_an_amount_and_its_currency(given: object, currency: str, read: tuple[str, str] | None) -> None:
    assert amount.read(given, currency) == read


@given(st.text() | st.floats(), st.text())
def test_what_is_read_is_read_again(given: object, currency: str) -> None:
    found = amount.read(given, currency)
    assert found is None or amount.read(*found) == found
