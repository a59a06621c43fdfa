"""Benthos, the engine of Redpanda Connect, built once from its Go module with a stand-in for the input from Kafka."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.process import NotStarted, Server, cache

_SOURCE = Path(__file__).parent
_FILES = ("main.go", "go.mod", "go.sum")
_LONGEST = 900  # seconds; about two minutes on two cores
_GO = (str(Path(sys.executable).with_name("go")), shutil.which("go"))  # that of the wheel first


def available() -> str:
    """Empty when it can be built here, or was, else what to install."""
    return "" if _go() or _program().exists() else "Benthos is built from its Go module: install Go 1.26 or later"


def build() -> Path:
    """The program, built on the first call. Raises NotStarted."""
    program = _program()
    with Server("connect build", program.parent).locked():
        if program.exists():
            return program
        partial = program.with_name("partial")
        line = [_go() or "go", "build", "-p=2", "-buildvcs=false", "-o", str(partial), "."]
        done = subprocess.run(
            line, cwd=_SOURCE, env=os.environ | {"CGO_ENABLED": "0"}, capture_output=True, text=True, check=False,
            timeout=_LONGEST,
        )  # fmt: skip
        if done.returncode:
            raise NotStarted(f"Benthos could not be built:\n{done.stderr[-2000:]}")
        partial.rename(program)
    return program


def _go() -> str:
    return next((path for path in _GO if path and Path(path).exists()), "")


def _program() -> Path:
    content = b"".join((_SOURCE / name).read_bytes() for name in _FILES)
    return cache() / f"connect-{hashlib.sha256(content).hexdigest()[:12]}" / "connect"
