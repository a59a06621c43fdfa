"""What cannot be built here is at least checked against what it names: the Dockerfile and the compose file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from brokers import schemes
from infra import access
from infra.settings import DASHBOARDS_TOKEN, Settings
from tests.serverless.function import ROOT

COMPOSE = ROOT / "infra" / "compose.yaml"
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.compose-spec", COMPOSE),
        ("vendor.github-workflows", ROOT / ".github" / "workflows" / "ci.yml"),
        ("vendor.github-workflows", ROOT / ".github" / "workflows" / "brokers.yml"),
    ],
)
def test_files_for_others_tools_fit_their_schemas(schema: str, file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)],
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_vendors_broker_has_a_suite_of_its_scheme() -> None:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "brokers.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["suite"]["strategy"]["matrix"]["broker"]
    assert matrix == ["kafka", "redpanda", "warpstream", "pulsar"]
    for part in matrix:
        assert part in services and part in services[f"suite-{part}"]["depends_on"]
        runner, *words = services[f"suite-{part}"]["command"]
        if runner == "pytest":
            assert (ROOT / words[0]).exists()
        else:
            assert [runner, *words[:2]] == ["python", "-m", "brokers.conformance"]
            assert words[2].startswith(f"{part}://{part}:") and part in schemes()


def test_a_suite_a_vendor_runs_tests_that_are_there() -> None:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for part in ("kafka", "redis", "clickhouse"):
        suite = services[f"suite-{part}"]
        assert f"FOOTFALL_TEST_{part.upper()}" in suite["environment"]
        assert suite["environment"]["FOOTFALL_TEST_REQUIRE"] == "all"
        assert suite["depends_on"] == {part: {"condition": "service_healthy"}}
        assert (ROOT / suite["command"][1]).exists()
        assert part in suite["profiles"] and part in services[part]["profiles"]


def test_compose_gives_only_settings_that_exist_and_publishes_on_loopback() -> None:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for name in ("ingest", "load", "dashboards"):
        # Without a value a variable is handed on from whoever starts compose, if it is set there.
        Settings.load({key: value for key, value in services[name]["environment"].items() if value is not None})
    assert services["dashboards"]["environment"][DASHBOARDS_TOKEN] is None
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_what_listens_everywhere_by_default_needs_a_token() -> None:
    """The image and compose start these; tests/e2e/test_walls.py runs such lines."""
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    app = DOCKERFILE.split(" AS app")[1].split("\nFROM ")[0]
    image = json.loads(re.findall(r"^CMD (.*)$", app, re.MULTILINE)[0])
    for verb, *flags in (image, services["dashboards"]["command"]):
        assert verb in ("up", "dashboards")
        settings = Settings.load({}, {"host": flags[flags.index("--host") + 1]})
        with pytest.raises(click.UsageError, match=DASHBOARDS_TOKEN):
            access.refuse_unguarded(settings)


def test_the_dockerfile_copies_what_is_there_and_names_the_handler() -> None:
    for source in re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / source).exists(), source
    loader = DOCKERFILE.split(" AS loader")[1].split("\nFROM ")[0]
    assert 'CMD ["infra.serverless.load"]' in loader
    stages = set(re.findall(r" AS (\w+)$", DOCKERFILE, re.MULTILINE))
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert {service["build"]["target"] for service in compose.values() if "build" in service} <= stages
