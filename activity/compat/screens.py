"""The size of a screen, as clients write it."""

from __future__ import annotations

import re
from functools import lru_cache

_USUAL = re.compile(r"[1-9]\d{1,4}x[1-9]\d{1,4}", re.ASCII)
# Apps tell it in parts of a point, some with its depth or scale behind.
_SIZE = re.compile(r"(\d{1,5})(?:\.\d*)?[x,*](\d{1,5})(?:\.\d*)?(?:[x,@].*)?", re.ASCII)
_BLANKS = re.compile(r"\s+|px")


@lru_cache(maxsize=1024)
def size(spelt: str) -> str:
    """Return `1920 X 1080`, `1920,1080,2` and `1920.0x1080.0x24` as 1920x1080; "" for what is no size, such as 0x0."""
    if _USUAL.fullmatch(spelt):
        return spelt
    found = _SIZE.fullmatch(_BLANKS.sub("", spelt.lower().replace("\u00d7", "x")))
    if found is None:
        return ""
    width, height = int(found[1]), int(found[2])
    return f"{width}x{height}" if width and height else ""
