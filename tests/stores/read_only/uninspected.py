"""`stores.read_only.process` with its first walls taken away: every statement runs as it was sent.

So a test can see what the kernel holds back by itself. Run as the reader is, see `test_escapes`.
"""

from __future__ import annotations

import sys

from stores.read_only import inspection, process


def prepared(_ask: inspection.Ask, sent: inspection.Sent, _rules: inspection.Rules) -> inspection.Question:
    return inspection.Question(sent.statement, sent.fmt, {})


if __name__ == "__main__":
    inspection.prepared = prepared
    inspection.Limits.settings = lambda _self, _chosen: {}  # type: ignore[method-assign]
    process.main(int(sys.argv[1]))
