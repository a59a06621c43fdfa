"""`stores.read_only.process` with its first walls taken away: every statement runs as it was sent.

So a test can see what the kernel holds back by itself. Run as the reader is, see `test_escapes`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from stores.read_only import inspection, process


def prepared(
    _ask: inspection.Ask, statement: str, fmt: str, _params: Mapping[str, str], _rules: inspection.Rules
) -> inspection.Question:
    return inspection.Question(statement, fmt, {})


if __name__ == "__main__":
    inspection.prepared = prepared
    inspection.Limits.settings = lambda _self: {}  # type: ignore[method-assign]
    process.main(int(sys.argv[1]))
