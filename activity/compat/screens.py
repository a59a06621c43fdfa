"""The size of a screen, as clients write it."""

from __future__ import annotations

import re
from functools import lru_cache

_USUAL = re.compile(r"[1-9]\d{1,4}x[1-9]\d{1,4}", re.ASCII)
# Apps tell it in parts of a point, some with its depth or scale behind. Beside an "x", a comma parts no sides.
_SIDE = r"(?!\d\.\d{3}(?!\d))(\d{1,5})"  # "1.920" are thousands
_POINT, _COMMA = r"(?:\.\d*)?", r"(?:\.\d*|,(?:\d\d?|\d{5,})(?!\d))?"  # ",920" may be thousands, ",1080" a side
_BY_X = re.compile(rf"{_SIDE}{_COMMA}[x*]{_SIDE}{_COMMA}(?:[x*@].*|,(?!\d{{3}}).*)?", re.ASCII)
_BY_COMMA = re.compile(rf"{_SIDE}{_POINT},{_SIDE}{_POINT}(?:[,@].*)?", re.ASCII)
_BLANKS = re.compile(r"\s+|px")


@lru_cache(maxsize=1024)
def size(spelt: str) -> str:
    """Return `1920 X 1080`, `1920,1080,2` and `1920.0x1080,0x24` as 1920x1080; "" for what is no size, such as 0x0, or
    may be several, such as 1,920x1,080."""
    if _USUAL.fullmatch(spelt):
        return spelt
    plain = _BLANKS.sub("", spelt.lower().replace("\u00d7", "x"))
    found = _BY_X.fullmatch(plain) or _BY_COMMA.fullmatch(plain)
    if found is None:
        return ""
    width, height = int(found[1]), int(found[2])
    return f"{width}x{height}" if width and height else ""
