"""The build hook: when it builds, and what it builds from."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import hatch_build
from dashboards.panels import BREAKDOWNS, METRICS
from dashboards.ranges import INTERVALS, PERIODS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that the hook looks at, outputs a second newer than sources."""
    for age, names in (
        (1000, ["dashboards/web/package.json", "dashboards/web/src/board.ts"]),
        (2000, hatch_build.OUTPUTS),
    ):
        for name in names:
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            os.utime(file, (age, age))
    return tmp_path


def test_nothing_is_built_when_all_is_newer_than_its_sources(tree: Path) -> None:
    assert not hatch_build.stale(tree)
    assert not hatch_build.build(tree)


def test_a_changed_source_makes_it_stale(tree: Path) -> None:
    os.utime(tree / "dashboards/web/src/board.ts", (3000, 3000))
    assert hatch_build.stale(tree)


@pytest.mark.parametrize("name", hatch_build.OUTPUTS)
def test_a_missing_output_makes_it_stale(tree: Path, name: str) -> None:
    (tree / name).unlink()
    assert hatch_build.stale(tree)


def test_without_the_sources_nothing_is_built(tree: Path) -> None:
    (tree / "dashboards/web/package.json").unlink()
    os.utime(tree / "dashboards/web/src/board.ts", (3000, 3000))
    assert not hatch_build.stale(tree)


def test_the_real_build_makes_every_output() -> None:
    """Nothing to do where the package was installed from this tree; after a change it builds what changed."""
    hatch_build.build(ROOT)
    assert not hatch_build.stale(ROOT)


def test_the_lock_file_names_no_registry_and_every_checksum() -> None:
    packages = json.loads((ROOT / "dashboards/web/package-lock.json").read_text())["packages"]
    for name, package in packages.items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-")


def test_the_documentation_names_every_choice() -> None:
    text = (ROOT / "dashboards/API.md").read_text()
    for word in (*METRICS, *BREAKDOWNS, *INTERVALS, *PERIODS):
        assert re.search(rf"\b{word}\b", text), f"API.md does not mention {word}"
