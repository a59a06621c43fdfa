"""The walls of the house: imports point down, the domain is pure, and only `infra` reads the environment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("activity", "brokers", "stores", "ingest", "pipeline", "dashboards", "infra")
READS_ENVIRONMENT = re.compile(r"\bos\.environ\b|\bos\.getenv\b|\bgetenv\(|\benviron\[")
HEAVY = ("polars", "pyarrow", "apache_beam", "chdb", "clickhouse_connect", "flask", "gunicorn", "confluent_kafka")


def sources(package: str) -> list[Path]:
    return [path for path in (ROOT / package).rglob("*.py") if "node_modules" not in path.parts]


def test_imports_point_down() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_only_infra_reads_the_environment() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        if package != "infra"
        for path in sources(package)
        if READS_ENVIRONMENT.search(path.read_text(encoding="utf-8"))
    ]
    assert readers == []


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["import", "--help"], ["site", "list", "--help"]])
def test_the_command_starts_without_loading_what_it_does_not_use(arguments: list[str]) -> None:
    code = (
        "import sys, infra.cli\n"
        "try: infra.cli.footfall.main(sys.argv[1:], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


def test_no_file_outgrows_its_reader() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for package in (*PACKAGES, "tests", "bench", "examples")
        for path in sources(package)
    }
    assert {name: lines for name, lines in lengths.items() if lines > 450} == {}
