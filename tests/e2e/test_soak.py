"""The soak of `./dev soak`, short: a minute of traffic that is accounted for while all that may fail does."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.e2e.harness import ROOT, environment
from tests.patience import patient
from tests.require import require

pytestmark = pytest.mark.slow


def test_every_event_that_was_acknowledged_is_stored_once(say: Callable[[str], None]) -> None:
    seed = random.randrange(10**6)
    line = [sys.executable, "-m", "tests.soak", "--minutes", "1", "--seed", str(seed), "--json"]
    say(f"soak: seed {seed}")
    done = subprocess.run(line, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=patient(600))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    say(f"soak: {figures}")
    assert sum(number for name, number in figures.items() if name.startswith("kill")) >= 2
    assert figures["events"] > 0
    assert figures["duplicates"] > 0
    for part in ("the disk", "the clock"):
        require(f"a failure of {part}", part not in figures["left out"], done.stderr.partition("kill -9")[0])
    assert figures["the disk is full"] > 0
    assert figures["refused while the disk was full"] > 0
    assert figures["the clock is set"] > 0
