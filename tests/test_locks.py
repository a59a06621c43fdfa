"""What is installed is named by content: packages by hash, images by digest, actions by commit."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements import lock

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8")
LOCKS = ("build", "runtime", "loader", "dev")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
# No digest of these could be looked up where the file was written: an exact tag where there is one.
WITHOUT_DIGEST = {
    "redpandadata/redpanda:v25.2.7",
    "apachepulsar/pulsar:4.0.8",
    "public.ecr.aws/warpstream-labs/warpstream_agent:latest",
}


def text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def pins(name: str) -> list[tuple[Requirement, int]]:
    """Each pinned package with its number of hashes."""
    logical = re.sub(r"\s*#.*", "", text(name)).replace("\\\n", " ")
    found = [line.split(" --hash=") for line in logical.splitlines() if line.strip()]
    return [(Requirement(line.strip()), len(hashes)) for line, *hashes in found]


def machines() -> Iterator[dict[str, str]]:
    """The environments that are supported, as markers see them."""
    for python in PYTHONS:
        for system, machine in SYSTEMS:
            known = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": system}
            yield {**default_environment(), **known, "platform_machine": machine, "extra": ""}  # type: ignore[dict-item]


def versions(name: str, machine: dict[str, str]) -> dict[str, str]:
    """What a lock installs on a machine; each package once."""
    found: dict[str, str] = {}
    for pin, _ in pins(name):
        if pin.marker is None or pin.marker.evaluate(machine):
            key = canonicalize_name(pin.name)
            assert key not in found, f"{key} twice on {machine}"
            (exact,) = pin.specifier
            assert exact.operator == "=="
            found[key] = exact.version
    return found


def wanted(name: str) -> list[str]:
    """What pyproject.toml asks for, of a lock."""
    base: list[str] = PROJECT["project"]["dependencies"]
    if name == "build":
        return [*PROJECT["build-system"]["requires"], lock.EDITABLE]
    if name == "loader":
        lines = (ROOT / lock.LOADER).read_text(encoding="utf-8").splitlines()
        return base + [line for line in lines if line.strip() and not line.startswith("#")]
    extras = lock.EXTRAS if name == "runtime" else EXTRAS
    asked = [line for extra in extras for line in EXTRAS[extra]]
    return base + [line for line in asked if not line.startswith("footfall[")]


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_is_what_pyproject_asks_for_on_every_machine(name: str) -> None:
    for machine in machines():
        locked = versions(name, machine)
        for line in wanted(name):
            asked = Requirement(line)
            if asked.marker is None or Marker(str(asked.marker)).evaluate(machine):
                version = locked.get(canonicalize_name(asked.name))
                assert version and asked.specifier.contains(version, prereleases=True), f"{line}: run ./dev lock"


@pytest.mark.parametrize("name", ["build", "runtime", "loader"])
def test_the_tests_run_with_the_versions_that_are_shipped(name: str) -> None:
    for machine in machines():
        tested = versions("dev", machine)
        shipped = versions(name, machine)
        assert {key: version for key, version in shipped.items() if tested.get(key, version) != version} == {}


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_has_its_hashes_and_no_registry_is_named(name: str) -> None:
    assert [pin.name for pin, hashes in pins(name) if not hashes] == []
    assert text(name).startswith("# Made by `./dev lock`")
    assert not re.search(r"https?://|^-", text(name), re.MULTILINE)


def test_images_and_dev_install_nothing_else() -> None:
    dev = (ROOT / "dev").read_text(encoding="utf-8")
    steps = "".join(line for line in DOCKERFILE.replace("\\\n", " ").splitlines(True) if not line.startswith("#"))
    installs = re.findall(r"\bpip (?:install|wheel)\b[^&|\n]*", steps)
    installs += re.findall(r"(?<!pip )\binstall --.*", dev)
    assert len(installs) > 8
    for line in installs:
        assert "--require-hashes" in line or "--no-deps" in line, line
    ways = {name for name in LOCKS if f"requirements/{name}.txt" in DOCKERFILE or f"requirements/{name}.txt" in dev}
    assert ways >= {"build", "dev", "loader"} and "/requirements/runtime.txt" in DOCKERFILE
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        assert "pip install" not in workflow.read_text(encoding="utf-8")


def images() -> list[str]:
    stages = set(re.findall(r" AS (\w+)$", DOCKERFILE, re.MULTILINE))
    services = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text(encoding="utf-8"))["services"].values()
    from_images = [name for name in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if name not in stages]
    return from_images + [service["image"] for service in services if "image" in service]


def test_images_are_named_by_digest() -> None:
    assert len(images()) > 8
    without = {image for image in images() if not re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)}
    assert without == WITHOUT_DIGEST


def test_actions_are_named_by_commit_with_their_version_beside() -> None:
    lines = [
        line.partition("uses:")[2].strip()
        for workflow in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in workflow.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", line)] == []
