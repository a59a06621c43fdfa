"""`stores.reader` with its first walls taken away: every statement runs as it was sent, with the default settings.

So a test can see what the kernel holds back by itself. Run as the reader is, see `test_escapes`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from stores import guard, reader


def prepared(
    _ask: guard.Ask, statement: str, fmt: str, _params: Mapping[str, str], _rules: guard.Rules
) -> guard.Question:
    return guard.Question(statement, fmt, {})


if __name__ == "__main__":
    guard.prepared = prepared
    guard.Limits.settings = lambda _self: {}  # type: ignore[method-assign]
    reader.main(int(sys.argv[1]))
