"""Filters in an address, as a JSON list such as `[["is","page",["/a","/b"]],["contains","source",["goo"]]]`.

The page and the API take the same; what a filter means is told in `stores.filters`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from werkzeug.exceptions import BadRequest

from dashboards.parameters import Arguments
from stores.filters import Filter

EXAMPLE = '[["is","page",["/pricing"]],["contains","source",["google"]]]'
MOST, MOST_VALUES, LONGEST = 20, 100, 2_000  # filters, values of one, characters of a value

WORDS = {"is": "is", "is_not": "is not", "contains": "contains", "contains_not": "does not contain"}


def of(arguments: Arguments) -> tuple[Filter, ...]:
    """Returns the filters of a request, without repetitions. Raises `BadRequest`, which says what is wrong."""
    text = arguments.get("filters", "")
    if not text:
        return ()
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest(f"filters must be JSON such as {EXAMPLE}, not {text[:200]!r}") from None
    if not isinstance(given, list):
        raise BadRequest(f"filters must be a list such as {EXAMPLE}")
    if len(given) > MOST:
        raise BadRequest(f"filters may be {MOST} at most, not {len(given)}")
    return tuple(dict.fromkeys(_read(each) for each in given))


def _read(given: object) -> Filter:
    match given:
        case [str(operator), str(dimension), [*found]] if all(isinstance(value, str) for value in found):
            values = [str(value) for value in found]
        case _:
            raise BadRequest(
                f"each of filters must be [operator, dimension, [text, ...]], such as {EXAMPLE}; "
                f"not {json.dumps(given)[:200]}"
            )
    if len(values) > MOST_VALUES or any(len(value) > LONGEST for value in (dimension, *values)):
        raise BadRequest(f"filters: {dimension[:100]} may have {MOST_VALUES} values of {LONGEST} characters at most")
    if not all(_is_text(value) for value in (dimension, *values)):
        raise BadRequest("filters may hold neither zero bytes nor halves of characters")
    try:
        return Filter(operator, dimension, tuple(values))
    except ValueError as error:
        raise BadRequest(f"filters: {error}") from error


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)


def text(filters: Sequence[Filter]) -> str:
    """Returns filters the way an address has them; `of` reads it."""
    lists = [[each.operator, each.dimension, list(each.values)] for each in filters]
    return json.dumps(lists, ensure_ascii=False, separators=(",", ":"))
