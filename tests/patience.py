"""How long tests wait: every deadline is `patient(seconds)`, the seconds a quiet machine is given with a wide margin.

FOOTFALL_TEST_PATIENCE multiplies all of them, for a machine that is slower or busier. A wait ends when what it waits
for is there, so a larger factor costs nothing where the tests pass.
"""

from __future__ import annotations

import math
import os


def _factor() -> float:
    given = os.environ.get("FOOTFALL_TEST_PATIENCE") or "1"
    try:
        factor = float(given)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise ValueError(f"FOOTFALL_TEST_PATIENCE={given}: write by how much waits are to be longer, such as 4")
    return factor


def patient(seconds: float) -> float:
    """So many seconds on this machine."""
    return seconds * _factor()
