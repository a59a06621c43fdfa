"""`--rerun-failed` from outside, on small suites of their own: what it says, and its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFTEST = """
from tests import rerun, schedule
pytest_addoption = rerun.add_options
def pytest_configure(config):
    schedule.register(config)
    rerun.register(config)
"""
HELPERS = """
import os, pathlib, pytest
def first_time(name):
    # True for whoever comes first in the whole run, whatever process it is in.
    try:
        pathlib.Path(name).mkdir()
    except FileExistsError:
        return False
    return True
"""
FINE = "def test_fine(): pass\n"
FLAKY = HELPERS + "def test_flaky():\n    assert not first_time('call'), 'too early'\n"
BROKEN = """
def test_broken():
    with open("times", "a") as file: file.write("x")
    assert 0
"""
# The fixture fails at its beginning, and when it is set up anew, at its end, where both tests have passed but for that.
FIXTURE = HELPERS + """
@pytest.fixture(scope="module")
def server():
    assert not first_time("setup")
    yield
    assert not first_time("teardown")
def test_one(server): pass
def test_two(server): pass
"""
ENDING = HELPERS + """
@pytest.fixture
def server():
    yield
    assert not first_time("end")
def test_ending(server): pass
"""
DYING = HELPERS + "def test_dying():\n    if first_time('dead'): os._exit(9)\n"


def run(folder: Path, workers: int, **files: str) -> tuple[int, list[str]]:
    """Exit status and lines of a suite of these files."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\nfilterwarnings = error\n")
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    distributed = ["-p", "xdist.plugin", "-n", str(workers), "--dist", "loadfile"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *distributed, "--rerun-failed"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def flaky(lines: list[str]) -> tuple[str, set[str]]:
    """The closing line, and what the lines after it call flaky."""
    names = {line.removeprefix("FLAKY: ") for line in lines if line.startswith("FLAKY: ")}
    return lines[-1 - len(names)], names


@pytest.mark.parametrize("workers", [0, 2])
def test_what_passes_alone_is_flaky_and_what_fails_twice_a_failure(tmp_path: Path, workers: int) -> None:
    files = {"flaky": FLAKY, "fine": FINE, "broken": BROKEN, "fixture": FIXTURE, "ending": ENDING}
    status, lines = run(tmp_path, workers, **files)
    closing, names = flaky(lines)
    assert status == 1
    assert names == {"test_flaky.py::test_flaky", "test_fixture.py::test_one", "test_ending.py::test_ending"}
    assert "= 1 failed, 4 passed, 1 error in" in closing
    assert "E       AssertionError: too early" in lines, "what went wrong the first time is told"
    assert (tmp_path / "times").read_text() == "xx"


def test_when_all_pass_alone_the_run_is_green(tmp_path: Path) -> None:
    status, lines = run(tmp_path, 2, flaky=FLAKY, dying=DYING, fine=FINE)
    closing, names = flaky(lines)
    assert status == 0
    assert names == {"test_flaky.py::test_flaky", "test_dying.py::test_dying"}
    assert "= 3 passed in" in closing


def test_many_failures_are_no_accident(tmp_path: Path) -> None:
    status, lines = run(tmp_path, 2, flaky=FLAKY, more="".join(f"def test_{n}(): assert 0\n" for n in range(10)))
    closing, names = flaky(lines)
    assert (status, names) == (1, set())
    assert "11 tests failed: too many to run them again" in lines
    assert "= 11 failed in" in closing


def test_what_cannot_be_collected_is_red_at_once(tmp_path: Path) -> None:
    status, lines = run(tmp_path, 2, wrong="import nothing_of_the_kind\n", flaky=FLAKY)
    assert status != 0
    assert flaky(lines)[1] == set()
    assert not any("run once more" in line for line in lines)
