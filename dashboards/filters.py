"""Filters in an address, as a JSON list such as `[["is","page",["/a","/b"]],["contains","source",["goo"]]]`.

The page and the API take the same; what a filter means is told in `stores.filters`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from werkzeug.exceptions import BadRequest

from dashboards.language import N_
from dashboards.parameters import Arguments
from stores.filters import Filter

EXAMPLE = '[["is","page",["/pricing"]],["contains","source",["google"]]]'
EXAMPLE_STEPS = '[["is","page",["/pricing"]],["is","event",["signup"]]]'
EXAMPLE_PATH = '["/","/pricing"]'
MOST, MOST_VALUES, LONGEST = 20, 100, 2_000  # filters, values of one, characters of a value

WORDS = {"is": N_("is"), "is_not": N_("is not"), "contains": N_("contains"), "contains_not": N_("does not contain")}


def of(arguments: Arguments) -> tuple[Filter, ...]:
    """Returns the filters of a request, without repetitions. Raises `BadRequest`, which says what is wrong."""
    return tuple(dict.fromkeys(_read("filters", each) for each in _list(arguments, "filters", EXAMPLE)))


def steps_of(arguments: Arguments) -> tuple[Filter, ...]:
    """Returns the steps of a funnel, in order, as the address has them; () if there are none. Raises `BadRequest`."""
    return tuple(_read("steps", each) for each in _list(arguments, "steps", EXAMPLE_STEPS))


def path_of(arguments: Arguments) -> list[str]:
    """Returns pages in a row, as the address has them. Raises `BadRequest`."""
    given = _list(arguments, "path", EXAMPLE_PATH)
    if not all(isinstance(page, str) and len(page) <= LONGEST and _is_text(page) for page in given):
        raise BadRequest(f"path must be a list of pages such as {EXAMPLE_PATH}")
    return [str(page) for page in given]


def _list(arguments: Arguments, name: str, example: str) -> list[object]:
    text = arguments.get(name, "")
    if not text:
        return []
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest(f"{name} must be JSON such as {example}, not {text[:200]!r}") from None
    if not isinstance(given, list):
        raise BadRequest(f"{name} must be a list such as {example}")
    if len(given) > MOST:
        raise BadRequest(f"{name} may be {MOST} at most, not {len(given)}")
    return given


def _read(name: str, given: object) -> Filter:
    match given:
        case [str(operator), str(dimension), [*found]] if all(isinstance(value, str) for value in found):
            values = [str(value) for value in found]
        case _:
            raise BadRequest(
                f"each of {name} must be [operator, dimension, [text, ...]], such as {EXAMPLE}; "
                f"not {json.dumps(given)[:200]}"
            )
    if len(values) > MOST_VALUES or any(len(value) > LONGEST for value in (dimension, *values)):
        raise BadRequest(f"{name}: {dimension[:100]} may have {MOST_VALUES} values of {LONGEST} characters at most")
    if not all(_is_text(value) for value in (dimension, *values)):
        raise BadRequest(f"{name} may hold neither zero bytes nor halves of characters")
    try:
        return Filter(operator, dimension, tuple(values))
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from error


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)


def text(filters: Sequence[Filter]) -> str:
    """Returns filters the way an address has them; `of` reads it."""
    lists = [[each.operator, each.dimension, list(each.values)] for each in filters]
    return json.dumps(lists, ensure_ascii=False, separators=(",", ":"))
