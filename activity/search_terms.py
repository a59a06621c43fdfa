"""What a visitor searched for on the site, from the parameters of the results page.

It is found whatever the form's framework makes of a parameter's name (`Q`, `q[]`, `search[term]`, `searchText`), in
UTF-8 or the older encodings of the web (`encodings`), encoded once or twice, also for HTML.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from activity.encodings import INVISIBLE, as_text, decoded_again

# The first of these that has a value wins; a site may configure its own.
SEARCH_PARAMETERS = ("q", "query", "s", "search", "searchword", "k", "keyword", "keywords")

_LONGEST_TERM = 256  # characters kept of a term
_BRACKETS = re.compile(r"[\[\].{}():$]+")
_GAPS = re.compile(r"[_\s-]+")
# Of `search[term]` and `search_term`.
_WORDS = frozenset(
    ("term", "terms", "text", "value", "query", "string", "phrase", "fulltext", "match", "for", "key", "input",
     "apifulltext", "apiviewsfulltext", "blockform", "q")
)  # fmt: skip
_BEHIND = _WORDS | {"word", "words", "param", "box", "val"}  # of `searchword`
_CONTAINS = ("_cont", "_matches", "_contains", "_like")  # of `q[title_cont]`
# By Drupal, Shopware, Google, and plug-ins of WordPress.
_KNOWN_AS = {
    "keys": "keywords", "ssearch": "search", "asq": "q", "sfs": "s", "fwpsearch": "search", "wpvpostsearch": "search",
}  # fmt: skip


def search_term(parameters: Mapping[str, str], names: Sequence[str] = SEARCH_PARAMETERS) -> str:
    """Returns the search term among an address's decoded `parameters`, at most 256 characters; "" if there is none.

    `names` are the parameters to look at; the first with a value wins.
    """
    if not parameters:
        return ""
    for name in names:
        term = tidy_term(decoded_again(parameters.get(name, ""), as_text))
        if term:
            return term
    terms: dict[str, str] = {}
    for name, value in parameters.items():
        for meant in _meant(name):
            terms.setdefault(meant, value)
    for name in names:
        term = tidy_term(decoded_again(terms.get(name.lower(), ""), as_text))
        if term:
            return term
    return ""


def _meant(name: str) -> Iterator[str]:
    """What a parameter is called in another form: `q` for `Q`, `_q`, `q[]`, `q[0]` and `filter[q]`; `search` for
    `search[term]` and `searchTerm`; `keywords` for `keys`."""
    first, *inner = [part.strip() for part in _BRACKETS.split(name.lower().removeprefix("amp;"))]
    inner = [part for part in inner if part and not part.isdigit()]
    if inner:
        yield inner[-1]
        if len(inner) > 1 and inner[-1] in _WORDS:  # `filters[search][value]`
            yield inner[-2]
        if inner[-1] == "sword" and "search" in first:  # TYPO3
            yield "search"
    if not inner or (len(inner) == 1 and (inner[0] in _WORDS or inner[0].endswith(_CONTAINS))):
        yield first
    if not inner:
        whole = _GAPS.sub("", first)
        if len(whole) > 1 or whole == "q":  # `_k` and `_s` are something else
            yield _KNOWN_AS.get(whole, whole).removeprefix("txt")
        if first.startswith("_") and first.endswith("_keywords"):  # of Liferay's portlets
            yield "keywords"
        for word in ("search", "query"):
            behind = whole.removeprefix(word) if whole.startswith(word) else ""
            if behind in _BEHIND or behind.removeprefix("key") in _BEHIND:
                yield word


def tidy_term(text: str) -> str:
    """Returns a term as it is stored, at most 256 characters.

    Each run of white space becomes one space, control and invisible characters are removed, and letters with accents
    are composed.
    """
    words = " ".join(text.split())
    if not words.isascii():
        words = INVISIBLE.sub("", unicodedata.normalize("NFC", words)).strip()
    if not words.isprintable():
        words = "".join(char for char in words if char >= " " and char != "\x7f")
    return words[:_LONGEST_TERM].rstrip()
