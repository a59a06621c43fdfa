"""What can be asked of the warehouse by name: a file of sql/query, or one of them with some parameters given.

Each file says in its first lines what it answers and names its parameters.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

_VISITS_BY = ("entry_page", "exit_page", "source", "channel", "country", "device", "browser", "os")
_EVENTS_BY = {"page": ("path", "pageview"), "search": ("term", "search"), "event": ("name", "custom")}

# name -> (file, parameters)
NARROWED: dict[str, tuple[str, dict[str, str | bool]]] = {
    **{f"breakdown_{by}": ("visits_by", {"by": by, "with_empty": not by.endswith("_page")}) for by in _VISITS_BY},
    **{f"breakdown_{name}": ("events_by", {"by": by, "kind": kind}) for name, (by, kind) in _EVENTS_BY.items()},
}

_FOLDER = files("stores").joinpath("sql/query")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def names() -> list[str]:
    return sorted({entry.name.removesuffix(".sql") for entry in _FOLDER.iterdir()} | NARROWED.keys())


@cache
def question(name: str) -> tuple[str, dict[str, str | bool]]:
    """The statement, and the parameters that the name itself gives."""
    file, given = NARROWED.get(name, (name, {}))
    if not _NAME.fullmatch(file) or name not in names():
        near = get_close_matches(name, names(), n=1)
        raise ValueError(f"{name!r} is no question." + (f" Did you mean {near[0]}?" if near else ""))
    return _FOLDER.joinpath(f"{file}.sql").read_text("utf-8"), given
