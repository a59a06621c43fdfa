"""`./dev up` where nothing is: a fresh clone, an empty home, no root, a PATH of Python, git and coreutils.

It fetches what runs, so it needs a registry. Without root it is in a user namespace in which its user is not root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, SITE, Up, until
from tests.patience import patient
from tests.require import require

pytestmark = [pytest.mark.real, pytest.mark.slow]

SET_UP_SECONDS = patient(900)  # most of it is fetching
COREUTILS = (
    "cat", "chmod", "cp", "cut", "date", "df", "dirname", "env", "head", "id", "ln", "ls", "mkdir", "mktemp", "mv",
    "printf", "readlink", "realpath", "rm", "rmdir", "sha256sum", "sleep", "sort", "tail", "touch", "tr", "true",
    "uname", "wc",
)  # fmt: skip
REGISTRIES = ("PIP_", "NPM_", "npm_", "SSL_", "NODE_EXTRA_")  # where this machine finds them
NOT_ROOT = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
NO_NETWORK = ["unshare", "--map-root-user", "--net"]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(found)], check=True)
    yield found
    shutil.rmtree(found)  # more than a gigabyte


@pytest.fixture
def bare(tmp_path: Path) -> list[str]:
    """What runs a program with nothing around it."""
    commands, home = tmp_path / "bin", tmp_path / "home"
    commands.mkdir()
    home.mkdir()
    interpreter = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (commands / interpreter.name).symlink_to(interpreter)
    for name in ("sh", "git", *COREUTILS):
        found = shutil.which(name)
        assert found, name
        (commands / name).symlink_to(found)
    kept = {name: value for name, value in os.environ.items() if name.startswith(REGISTRIES) or "proxy" in name.lower()}
    variables = kept | {"HOME": str(home), "PATH": str(commands), "LANG": "C.UTF-8"}
    return [*_not_root(), "env", "-i", *(f"{name}={value}" for name, value in variables.items())]


def _not_root() -> list[str]:
    if os.getuid() != 0:
        return []
    can = subprocess.run([*NOT_ROOT, "true"], capture_output=True, check=False).returncode == 0
    require("a clone without root", can, "this kernel allows no user namespaces; run the tests as another user")
    return NOT_ROOT


def test_one_command_counts_a_visit(clone: Path, bare: list[str], tmp_path: Path) -> None:
    program = [*bare, str(clone / "dev")]
    up = Up(tmp_path / "data", "--site", SITE, program=program)
    try:
        up.wait_ready(SET_UP_SECONDS)
        assert "MB to fetch" in up.said()
        assert up.collect()["accepted"] == 1
        until(lambda: up.stats()["pageviews"] == 1, "the page view is in the numbers")
        assert up.stop(signal.SIGINT) == 0
    finally:
        up.end()
    alone = subprocess.run([*NO_NETWORK, *program, "setup"], capture_output=True, text=True, check=False)
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, "", "")
    again = Up(tmp_path / "data", program=program)
    try:
        again.wait_ready()
        assert "setting up" not in again.said()
        until(lambda: again.stats()["pageviews"] == 1, "the page view is still in the numbers")
        assert again.stop() == 0
    finally:
        again.end()
