"""`./dev lock`: the exact packages, with the hash of each wheel, that ./dev, the images and CI install.

`requirements/dev.txt` holds everything; of it, `runtime.txt` runs Footfall with every adapter, `loader.txt` is the
function that loads and `build.txt` builds our wheel. Each holds for all Pythons and systems that are supported;
markers tell them apart. A package is never built here: what has no wheel is not taken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
OLDEST = "3.11"
EDITABLE = "editables>=0.5"  # what hatchling asks for beside pyproject.toml
EXTRAS = ("kafka", "msk", "oidc", "pulsar", "redis", "s3")  # what the image brings
LOADER = "infra/functions/loader.txt"
HEAD = "# Made by `./dev lock` from {sources}; run it after each change there, and commit what it wrote.\n"


def sources() -> dict[str, list[str]]:
    """Each lock, and what it is made from: arguments of `uv pip compile`. The first names the versions of all."""
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    same = ["--constraint", "requirements/dev.txt"]
    return {
        "dev.txt": ["pyproject.toml", "--extra", "dev"],
        "runtime.txt": ["pyproject.toml", *extras, *same],
        "loader.txt": ["pyproject.toml", LOADER, *same],
        "build.txt": ["-", *same],
    }


def compile_lock(name: str, arguments: list[str], *, upgrade: bool) -> None:
    """Write one lock; versions that stand in it already stay where they still fit, unless `upgrade`."""
    target = FOLDER / name
    command = ["pip", "compile", *arguments, "--universal", "--python-version", OLDEST, "--generate-hashes"]
    command += ["--only-binary", ":all:", "--no-emit-index-url", "--no-header", "--quiet", "--output-file", str(target)]
    command += ["--upgrade"] if upgrade else []
    done = subprocess.run(
        [sys.executable, "-m", "uv", *command],
        cwd=ROOT,
        env=os.environ | _index(),
        input=_build_requirements() if arguments[0] == "-" else None,
        text=True,
        capture_output=True,
    )
    if done.returncode != 0:
        raise click.ClickException(f"{name} could not be made:\n{done.stderr.strip()}")
    made_from = f"pyproject.toml and {LOADER}" if LOADER in arguments else "pyproject.toml"
    target.write_text(HEAD.format(sources=made_from) + target.read_text(encoding="utf-8"), encoding="utf-8")


def _build_requirements() -> str:
    """Of a wheel and of an editable install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return "\n".join([*project["build-system"]["requires"], EDITABLE])


def _index() -> dict[str, str]:
    """The index that pip is set up for, said to uv, which reads none of pip's settings."""
    if "UV_DEFAULT_INDEX" in os.environ:
        return {}
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    found = os.environ.get("PIP_INDEX_URL") or subprocess.run(command, text=True, capture_output=True).stdout.strip()
    return {"UV_DEFAULT_INDEX": found} if found else {}


@click.command()
@click.option("--upgrade", is_flag=True, help="Take the newest versions that fit, rather than those locked already.")
def main(upgrade: bool) -> None:
    """Make the lock files anew from pyproject.toml."""
    FOLDER.mkdir(exist_ok=True)
    for name, arguments in sources().items():
        compile_lock(name, arguments, upgrade=upgrade)
        click.echo(f"requirements/{name}")


if __name__ == "__main__":
    main()
