"""`start`, and the harness of the tests from outside, for the processes that `infra` starts."""

from __future__ import annotations

from tests.e2e.conftest import start
from tests.e2e.harness import SITE, Up, footfall, until

__all__ = ["SITE", "Up", "footfall", "start", "until"]
