"""Queries of addresses in fields of their own: as they were sent, or as a program has taken them apart.

Programs call by one name what was sent, and the map that they made of it: as an object, as the text of one, or as their
language prints a map. An object is a query again, and any other text is one only where it looks so.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode

_OF_PROGRAMS = frozenset(("queryparams", "queryparameters", "requestargs"))  # names of what may be such a map
_LIKE_SENT = re.compile(r"\??[^\s()<>{}\[\]'\"=&][^\s()<>{}'\"=&]*+=\S*")
# What Azure's gateway and IIS as a proxy put behind the query that was sent.
_OF_ROUTING = re.compile(r"(?:^|&)X-(?:AzureApplicationGateway|ARR)-(?:CACHE-HIT|LOG-ID)=.*$", re.DOTALL)


def query_in(name: str, value: str) -> str:
    """Return the query in the field of this compact name, without its `?` and what a gateway put behind it; "" where
    the field holds none."""
    if name in _OF_PROGRAMS:
        value = _as_object(value) if value.startswith("{") else value if _LIKE_SENT.fullmatch(value) else ""
    elif name == "search" and not value.startswith("?"):  # what was searched, maybe anywhere
        return ""
    query = value.removeprefix("?")
    return _OF_ROUTING.sub("", query) if "-LOG-ID=" in query else query


def as_query(given: dict[str, Any]) -> str:
    """Return the query of an address that a program has taken apart, as hapi does."""
    several = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    return urlencode(
        [
            (name, str(value).lower() if isinstance(value, bool) else value)
            for name, values in several.items()
            for value in values
            if value is not None and not isinstance(value, (dict, list))
        ]
    )


def _as_object(text: str) -> str:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return as_query(given) if isinstance(given, dict) else ""
