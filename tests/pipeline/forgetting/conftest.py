"""A world in which he was, and what there is in one in which he never was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.forgetting.him import ANOTHER, HIM, HIS_LETTER, HISTORY, Kept, fill, kept
from tests.pipeline.world import World


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world in which he was."""
    world = World(tmp_path_factory.mktemp("filled"))
    fill(world, HISTORY, HIS_LETTER, ANOTHER)
    world.close()
    return world.folder


@pytest.fixture
def world(filled: Path, tmp_path: Path) -> Iterator[World]:
    """A copy of that world."""
    made = World(shutil.copytree(filled, tmp_path / "world", symlinks=True))
    yield made
    made.close()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What there is in a world in which he never was."""
    world = World(tmp_path_factory.mktemp("without"))
    fill(world, [each for each in HISTORY if each.visitor != HIM], ANOTHER)
    found = kept(world)
    world.close()
    return found
