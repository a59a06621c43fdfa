"""The applications of this folder, built as their users build them, once for all runs.

A recipe of docs/beacon.md names its file in its first line. It is written to that place, so what is built is what the
page says.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from tests import npm
from tests.servers.process import locked

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "ingest" / "static" / "npm"
APPLICATIONS = ("react", "vue", "svelte", "next")
TYPES = ("types.ts", "tsconfig.json")
VITE, NEXT, TSC = "vite/bin/vite.js", "next/dist/bin/next", "typescript/bin/tsc"
# The place of each recipe, by the file that it names.
RECIPES = {
    "src/main.jsx": "react/src/main.jsx",
    "src/main.js": "vue/src/main.js",
    "app/layout.jsx": "next/app/(tag)/layout.jsx",
    "app/beacon.jsx": "next/app/beacon.jsx",
    "src/routes/+layout.svelte": "svelte/src/routes/+layout.svelte",
}
# What is served of each application, by the name of its host.
SERVED = {
    "react": "react/dist",
    "strict": "react/dist-development",
    "vue": "vue/dist",
    "svelte": "svelte/build",
    "snippet": "snippet/build",
    "next": "next/out",
}


def recipes() -> dict[str, str]:
    """The code of docs/beacon.md that names its file, by that name."""
    page = (ROOT / "docs" / "beacon.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^```\w+\n(?://|<!--) (\S+)(?: -->)?\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))


def snippet() -> str:
    """The tag with which docs/beacon.md begins."""
    page = (ROOT / "docs" / "beacon.md").read_text(encoding="utf-8")
    return page.partition("```html\n")[2].partition("\n```")[0]


def built() -> Path:
    """The folder that `SERVED` is in. Fails with what a build says when it does not succeed."""
    inputs = [file for name in APPLICATIONS for file in sorted((HERE / name).rglob("*")) if file.is_file()]
    inputs += [Path(__file__), *(HERE / name for name in TYPES)]
    packages = _digest([HERE / "package-lock.json", *sorted(PACKAGE.iterdir())], "")
    folder = HERE / "build" / _digest(inputs, packages + snippet() + repr(recipes()))[:16]
    with locked(HERE / "build"):
        npm.installed(HERE, *sorted(PACKAGE.iterdir()))
        if not (folder / "complete").exists():
            for old in (HERE / "build").iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            _build(folder)
            (folder / "complete").touch()
    return folder


def _build(folder: Path) -> None:
    for name in APPLICATIONS:
        shutil.copytree(HERE / name, folder / name)
    shutil.copytree(HERE / "svelte", folder / "snippet")
    page = folder / "snippet" / "src" / "app.html"
    page.write_text(page.read_text().replace("<!-- the recipe -->", snippet()))
    for name, place in RECIPES.items():
        (folder / place).write_text(recipes()[name])
    for name in TYPES:
        shutil.copy(HERE / name, folder)
    _run(folder, _program(TSC))
    for name in ("react", "vue", "svelte", "snippet"):
        _run(folder / name, _program(VITE), "build", "--logLevel", "warn")
    # React's own development build, in which StrictMode mounts everything twice.
    strict = ("build", "--logLevel", "warn", "--mode", "development", "--outDir", "dist-development")
    _run(folder / "react", _program(VITE), *strict, NODE_ENV="development")
    _run(folder / "next", _program(NEXT), "build", NEXT_TELEMETRY_DISABLED="1")


def _program(path: str) -> str:
    return str(HERE / "node_modules" / path)


def _run(folder: Path, *line: str, **more: str) -> None:
    environment = {**npm.environment(), "CI": "1", **more}
    done = subprocess.run([*npm.NODE, *line], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(line)} failed in {folder}:\n{done.stdout}\n{done.stderr}"


def _digest(files: list[Path], more: str) -> str:
    digest = hashlib.sha256(more.encode())
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
