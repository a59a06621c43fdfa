"""What a visitor searched for on the site itself, read from the address of the results page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# In this order, the first that is there with a value wins; a site may name its own.
PARAMETERS = ("q", "query", "s", "search", "searchword", "k", "keyword", "keywords")

LONGEST = 256  # characters of a term that are kept


def term(parameters: Mapping[str, str], names: Sequence[str] = PARAMETERS) -> str:
    """The search term among an address's decoded `parameters`; "" when there is none."""
    for name in names:
        if value := parameters.get(name):
            return tidy(value)
    return ""


def tidy(text: str) -> str:
    """A term as it is kept: each run of white space is one space; control characters are gone."""
    words = " ".join(text.split())
    if not words.isprintable():
        words = "".join(char for char in words if char >= " " and char != "\x7f")
    return words[:LONGEST].rstrip()
