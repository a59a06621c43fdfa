"""What a test needs and this machine may not have: skipped with one loud line, or failed where all is required."""

from __future__ import annotations

import os

import pytest


def require(name: str, ok: bool, how: str) -> None:
    """Go on if `ok`; else skip, saying `how` to get it. FOOTFALL_TEST_REQUIRE=all makes a failure of each skip."""
    if ok:
        return
    message = f"{name.upper()} IS NOT TESTED HERE: {how}"
    if os.environ.get("FOOTFALL_TEST_REQUIRE") == "all":
        pytest.fail(f"{message} (FOOTFALL_TEST_REQUIRE=all allows no skip)", pytrace=False)
    pytest.skip(message)
