"""The example of a third party's broker, run as its author would: registered by entry point, the suite imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.patience import patient

pytestmark = pytest.mark.real

EXAMPLE = Path(__file__).parents[2] / "examples" / "redis_lists"


def test_the_example_is_as_short_as_it_says() -> None:
    text = (EXAMPLE / "footfall_redis_lists.py").read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 60


def test_the_example_passes_the_suite_from_outside(redis_url: str, tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    # What installing it would leave behind, without building it: the metadata that names the entry point.
    metadata = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n")
    lines = [f"{scheme} = {target}" for scheme, target in project["entry-points"]["footfall.brokers"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[footfall.brokers]", *lines]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(EXAMPLE)],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(EXAMPLE), str(EXAMPLE.parents[1])]),
            "PYTEST_ADDOPTS": "",  # those of this run are not the author's
            "REDIS": redis_url.removeprefix("redis://").partition("/")[0],
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(300),
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
