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
_DIGITS = (  # with thousands parted, also as in India
    r"\s*(-?[0-9]{1,3}(?:[0-9]*|(?:[.,'’\s][0-9]{3})+|(?:,[0-9]{2})+,[0-9]{3})(?:[.,][0-9]{1,4})?)\s*"
)
_LETTERS = str.maketrans("−٠١٢٣٤٥٦٧٨٩٫٬", "-0123456789.,")
_NO_CENTS = re.compile(r"(?<=[0-9])[.,][-–—]+(?=\D|$)")
_MINUS_AND_SIGN = re.compile(r"^-\s*([^0-9\s.,-]{1,3}\s*)([0-9])")
_AMOUNT = re.compile(_BESIDE + _DIGITS + _BESIDE, re.IGNORECASE)
_BY_THOUSANDS = re.compile(r"-?[1-9][0-9]{0,2}(?:,[0-9]{3})+")
_GAP = re.compile(r"['’\s]")


def read(given: object, currency: str = "") -> tuple[str, str] | None:
    """Return an amount in digits, at most four after the point, and its currency in three letters or "".

    `given` is a number or a text, which may have a currency beside it. None if it is no amount."""
    text, currency = _plain(str(given)), currency.strip().upper()
    if written := _AMOUNT.fullmatch(text):
        before, digits, behind = written.groups()
        text = _with_a_point(digits)
        currency = currency or (before or behind or "").upper()
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


def _with_a_point(digits: str) -> str:
    """An amount as shops write it, `1,234.50` or `1.234,50` or `12,50`, with a point and nothing between thousands.

    The last sign parts the cents, unless it is there twice, or is a comma that can part thousands."""
    digits = _GAP.sub("", digits)
    last = max(digits.rfind("."), digits.rfind(","))
    sign = digits[last] if last >= 0 else ""
    if sign and (digits.count(sign) > 1 or _BY_THOUSANDS.fullmatch(digits)):
        last, sign = len(digits), ""
    whole = digits[:last] if sign else digits
    return whole.replace(",", "").replace(".", "") + (f".{digits[last + 1 :]}" if sign else "")
