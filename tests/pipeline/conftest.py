"""A loader over real parts: an embedded log, an embedded warehouse and a checkpoint in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import live
from tests.pipeline.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def loader(world: World) -> live.Loader:
    return world.loader
