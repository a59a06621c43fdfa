"""What is shipped: a wheel with the built front end and every SQL file in it, under names that nobody else claims."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    alone = ["--no-deps", "--no-build-isolation"]  # by the Node and the hatchling that are here, of the lock
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *alone, "--wheel-dir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("footfall-*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


@pytest.mark.slow
def test_the_wheel_holds_every_file_that_runs(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for pattern in ("**/*.py", "**/*.sql", "**/py.typed", "templates/**/*.html", "schema/*.json")
        for path in (ROOT / package).glob(pattern)
        if "node_modules" not in path.parts
    }
    assert sorted(wanted - names) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["dashboards/static/board.js", "dashboards/static/board.css", "ingest/static/built/beacon.js"],
)
def test_the_wheel_holds_the_built_front_end(wheel: zipfile.ZipFile, name: str) -> None:
    assert wheel.getinfo(name).file_size > 500


@pytest.mark.slow
def test_the_wheel_holds_what_is_for_other_programs(wheel: zipfile.ZipFile) -> None:
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "infra" / "grafana").rglob("*") if path.is_file()}
    assert len(wanted) == 4
    assert sorted((wanted | {"infra/compose.yaml"}) - set(wheel.namelist())) == []


@pytest.mark.slow
def test_the_wheel_holds_nothing_of_the_workshop(wheel: zipfile.ZipFile) -> None:
    strangers = {name.partition("/")[0] for name in wheel.namelist()} - set(PACKAGES)
    assert all(name.endswith(".dist-info") for name in strangers)
    assert [name for name in wheel.namelist() if "node_modules" in name or "/tests/" in name] == []


def test_no_dependency_claims_our_names() -> None:
    claims = packages_distributions()
    taken = {name: claims[name] for name in PACKAGES if set(claims.get(name, [])) - {"footfall"}}
    assert taken == {}


def test_each_extra_is_what_an_adapter_needs() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {"kafka", "msk", "oidc", "pulsar", "redis", "s3", "serverless", "dev"}
    ours = next(line for line in extras["dev"] if line.startswith("footfall["))
    assert {name for name in extras if name != "dev"} == set(ours[len("footfall[") : -1].split(","))
