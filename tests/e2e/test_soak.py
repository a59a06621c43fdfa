"""The soak of `./dev soak`, short: traffic that is accounted for while processes are killed at random."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.soak import soak

pytestmark = pytest.mark.slow

SECONDS = 30.0  # of traffic; the judgement takes about as long


def test_every_event_that_was_acknowledged_is_stored_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(10**6)
    with capsys.disabled():
        print(f"\nsoak: seed {seed}")  # noqa: T201
    figures = soak(tmp_path / "data", SECONDS, seed)
    with capsys.disabled():
        print(f"soak: {figures}")  # noqa: T201
    assert sum(number for name, number in figures.items() if name.startswith("kill")) >= 2
    assert figures["events"] > 0
    assert figures["duplicates"] > 0
