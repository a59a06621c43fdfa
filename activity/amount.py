"""An amount of money as shops and programs write it: its digits, and the currency that stands beside it."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

# The signs that stand for one currency; of "$", "¥" and "kr" several are called.
_SIGNS = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₽": "RUB", "₺": "TRY", "₴": "UAH", "₪": "ILS", "₫": "VND", "₩": "KRW",
    "₦": "NGN", "ZŁ": "PLN", "KČ": "CZK", "R$": "BRL", "US$": "USD",
}  # fmt: skip
_BESIDE = r"(US\$|R\$|[A-Za-z]{3}|zł|Kč|[$€£¥₹₽₺₴₪₫₩₦])?"
# Thousands are parted by one sign only, also as in India, and the last of them has three digits as the others have.
_DIGITS = r"""\s*(-?(?:
    [1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]{1,4})?
    |[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?:,[0-9]{2})+,[0-9]{3})(?:\.[0-9]+)?
    |[1-9][0-9]{0,2}(?:['’\s][0-9]{3})+(?:\.[0-9]+|,[0-9]{1,4})?
    |[0-9]+(?:\.[0-9]*|,[0-9]{1,4})?
    |\.[0-9]+
))\s*"""
# Currencies, and signs of several, with two decimals or none: three digits before one of them are no part of it.
_OF_CENTS = frozenset((
    "AED", "ARS", "AUD", "BAM", "BGN", "BOB", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CRC", "CZK", "DKK", "EUR",
    "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "ISK", "JPY", "KRW", "MAD", "MKD", "MXN", "MYR", "NGN", "NOK", "NZD",
    "PEN", "PHP", "PLN", "PYG", "RON", "RSD", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "UYU",
    "VES", "VND", "ZAR", "$", "¥",
))  # fmt: skip
_OF_MILLS = frozenset(("BHD", "JOD", "KWD", "OMR"))  # have three decimals behind a point
_MILLS_BY_COMMA = frozenset(("LYD", "TND"))  # or behind a comma
_LETTERS = str.maketrans("−٠١٢٣٤٥٦٧٨٩٫٬", "-0123456789.,")
_NO_CENTS = re.compile(r"(?<=[0-9])[.,][-–—]+(?=\D|$)")
_MINUS_AND_SIGN = re.compile(r"^-\s*([^0-9\s.,-]{1,3}\s*)([0-9])")
_AMOUNT = re.compile(_BESIDE + _DIGITS + _BESIDE, re.IGNORECASE | re.VERBOSE)
_BY_GROUPS = re.compile(r"-?[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?:,[0-9]{2})+,[0-9]{3}|(?:\.[0-9]{3}){2,})")
_ONE_GROUP = re.compile(r"-?[1-9][0-9]{0,2}[.,][0-9]{3}")
_GAP = re.compile(r"['’\s]")


def read(given: object, currency: str = "") -> tuple[str, str] | None:
    """Return an amount in digits, at most four after the point, and its currency in three letters or "".

    `given` is a number or a text, which may have a currency beside it. None if it is no amount, or may be two."""
    text, currency = _plain(str(given)), currency.strip().upper()
    if written := _AMOUNT.fullmatch(text):
        before, digits, behind = written.groups()
        beside = (before or behind or "").upper()
        parted = _parts_thousands(digits, _SIGNS.get(beside, beside), behind is not None)
        if parted is None:
            return None
        text = _with_a_point(digits, parted)
        currency = currency or beside
    try:
        amount = Decimal(text).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
    except InvalidOperation:
        return None
    if not amount.is_finite():
        return None
    currency = _SIGNS.get(currency, currency)
    return f"{amount:f}".rstrip("0").rstrip("."), currency if len(currency) == 3 and currency.isascii() else ""


def _plain(text: str) -> str:
    """An amount in digits of our own, with a minus before them, and without what stands for no cents (`12,-`)."""
    text = text.strip().translate(_LETTERS)
    if text.startswith("(") and text.endswith(")"):  # as bookkeepers write what is owed
        text = f"-{text[1:-1].strip()}"
    text = _NO_CENTS.sub("", text)
    return _MINUS_AND_SIGN.sub(r"\1-\2", text)


def _parts_thousands(digits: str, currency: str, is_behind: bool) -> bool | None:
    """Whether the last sign of an amount parts thousands, as it does if it is there twice; None if nobody can tell.

    One comma before three digits does; one point (`1.500`) only with a currency behind, where languages write it that
    part thousands by points. It is a number's where no currency stands beside it."""
    if currency and _ONE_GROUP.fullmatch(digits):
        if "," in digits:
            return None if currency in _MILLS_BY_COMMA else True
        if currency in _OF_MILLS:
            return False
        return True if is_behind and currency in _OF_CENTS else None
    return _BY_GROUPS.fullmatch(digits) is not None


def _with_a_point(digits: str, parted: bool) -> str:
    """An amount as shops write it, `1,234.50` or `1.234,50` or `12,50`, with a point and nothing between thousands."""
    digits = _GAP.sub("", digits).replace(",", ".")
    whole, point, cents = (digits, "", "") if parted else digits.rpartition(".")
    return whole.replace(".", "") + point + cents
