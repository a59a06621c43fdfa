"""Amounts of money in the notations of shops."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity import amount
from activity.compat.values import worth
from activity.incoming import Revenue


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
        ("1.500 €", "", ("1500", "EUR")),
        ("-1.500 EUR", "", ("-1500", "EUR")),
        ("12.000 ₫", "", ("12000", "VND")),
        ("1.500 $", "", ("1500", "")),
        ("€1.500", "", None),
        ("USD 1.500", "", None),
        ("€ 1.500,00", "", ("1500", "EUR")),
        ("€1,500", "", ("1500", "EUR")),
        ("0.500 €", "", ("0.5", "EUR")),
        ("$.500", "", ("0.5", "")),
        ("1234.567 €", "", ("1234.567", "EUR")),
        ("1.5000 €", "", ("1.5", "EUR")),
        ("1.500", "EUR", ("1.5", "EUR")),
        ("1.500 KWD", "", ("1.5", "KWD")),
        ("KWD 1.500", "", ("1.5", "KWD")),
        ("1.500 TND", "", None),
        ("1,500 TND", "", None),
        ("1.500,250 TND", "", ("1500.25", "TND")),
        ("25.000 IQD", "", None),
        ("25,000 IQD", "", ("25000", "IQD")),
        ("1.500 BTC", "", None),
        ("1.234.567 BTC", "", ("1234567", "BTC")),
        ("1.234.567", "", ("1234567", "")),
        ("1,23,456", "", ("123456", "")),
        ("1'234.500 CHF", "", ("1234.5", "CHF")),
        ("1\u00a0234,50 €", "", ("1234.5", "EUR")),
        ("12,345,67", "", None),
        ("1.234.56 €", "", None),
        ("1,234.567,89", "", None),
        ("1,234.567.890", "", None),
        ("0,500,000", "", None),
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


def by_groups(whole: int, between: str) -> str:
    return f"{whole:,}".replace(",", between)


@given(
    st.integers(0, 10**12), st.sampled_from([(".", ","), (",", "."), (" ", ","), ("'", "."), ("\u202f", ",")]),
    st.sampled_from(["", "0", "50", "00"]), st.sampled_from(["{} €", "€{}", "EUR {}", "{}", "-{} EUR"]),
)  # fmt: skip
def test_what_a_language_writes_is_read_as_that_or_not_at_all(
    whole: int, signs: tuple[str, str], cents: str, form: str
) -> None:
    digits = by_groups(whole, signs[0]) + (signs[1] + cents if cents else "")
    found = amount.read(form.format(digits))
    meant = Decimal(f"{'-' * form.startswith('-')}{whole}.{cents or '0'}")
    if signs[0] == "." and not cents and 1_000 <= whole < 1_000_000 and form in ("€{}", "EUR {}"):
        assert found is None, "it may be a number with three decimals"
    elif (digits, form) == (by_groups(whole, "."), "{}") and 1_000 <= whole < 1_000_000:
        assert found == (f"{Decimal(digits).normalize():f}", ""), "a number"
    else:
        assert found is not None and Decimal(found[0]) == meant


def test_a_usual_amount_is_asked_for_no_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amount, "read", None)
    for usual in ("25.00", " -3 ", "1e3"):
        assert worth(usual) == worth(usual, "") == Revenue(usual.strip(), "")


def test_an_amount_that_may_be_two_is_no_revenue() -> None:
    assert worth("€1.500") is None
    assert worth("1.500 €") == Revenue("1500", "EUR")
    assert worth("$ 25.00", "USD") == Revenue("25.00", "USD")
