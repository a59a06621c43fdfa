"""A test that fails is run once more, alone, after the others: `--rerun-failed`, as `./dev test` has it.

If it passes then, the run is green and its last lines say `FLAKY: name`. One that fails twice is a failure. Nothing
is run again when a module could not be collected, when more than `MOST` tests failed or some did not come, or after
Ctrl-C. The second run is a pytest of its own without workers, so that what a failed fixture left is set up anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.schedule import file_of

MOST = 10  # more than that is no accident
_OUTCOMES = "--outcomes"


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("footfall")
    group.addoption("--rerun-failed", action="store_true", help="run what failed once more, alone, at the end")
    group.addoption(_OUTCOMES, metavar="FILE", help="write whether each test passed into a JSON file")


def register(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # the controller hears of everything
        return
    if file := config.getoption(_OUTCOMES):
        config.pluginmanager.register(Outcomes(Path(file)))
    if config.getoption("--rerun-failed"):
        config.pluginmanager.register(Rerun(config))


class Outcomes:
    """Writes whether each test passed: it was called, and no phase of it failed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._passed: dict[str, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        called = report.when == "call" and (report.passed or hasattr(report, "wasxfail"))
        self._passed[report.nodeid] = (called or self._passed.get(report.nodeid, False)) and not report.failed

    def pytest_sessionfinish(self) -> None:
        self._file.write_text(json.dumps(self._passed), encoding="utf-8")


class Rerun:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._failed: dict[str, list[pytest.TestReport]] = {}
        self._flaky: list[str] = []
        self._came: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._came.add(report.nodeid)
        if report.failed:
            self._failed.setdefault(report.nodeid, []).append(report)

    @pytest.hookimpl(trylast=True)  # the workers are gone, and the fixtures of the session
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        terminal: Any = self._config.pluginmanager.getplugin("terminalreporter")
        only_tests = exitstatus == pytest.ExitCode.TESTS_FAILED and not session.shouldfail and not session.shouldstop
        if not only_tests or not self._failed or _collection_failed(terminal):
            return
        if missing := session.testscollected - len(self._came):  # too many processes died
            terminal.write_line(f"\n{missing} tests did not come: nothing is run again")
            return
        if len(self._failed) > MOST:
            terminal.write_line(f"\n{len(self._failed)} tests failed: too many to run them again")
            return
        terminal.ensure_newline()
        terminal.write_sep("=", f"run once more, alone: {len(self._failed)} that failed")
        terminal.flush()
        passed = self._again()
        self._flaky = [name for name in self._failed if passed.get(name, False)]
        for name in self._flaky:
            _count_as_passed(terminal.stats, name)
        if len(self._flaky) == len(self._failed):
            session.exitstatus = pytest.ExitCode.OK

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for name in self._flaky:
            for report in self._failed[name]:
                terminalreporter.write_sep("_", f"{name}, {report.when}: failed once, passed alone")
                terminalreporter.write_line(report.longreprtext)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """After the closing line."""
        terminal: Any = self._config.pluginmanager.getplugin("terminalreporter")
        for name in self._flaky:
            terminal.write_line(f"FLAKY: {name}", yellow=True)

    def _again(self) -> dict[str, bool]:
        """By name, whether it passes; without those that a pytest which broke down did not come to."""
        with tempfile.TemporaryDirectory() as folder:
            outcomes = Path(folder) / "outcomes"
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", _OUTCOMES, str(outcomes)]
            # They came from several processes in turn; those of one file share what its fixtures set up.
            failed = sorted(self._failed, key=file_of)
            subprocess.run([*command, *failed], cwd=self._config.rootpath, check=False)
            return dict(json.loads(outcomes.read_text(encoding="utf-8"))) if outcomes.exists() else {}


def _collection_failed(terminal: Any) -> bool:
    return any(isinstance(report, pytest.CollectReport) for report in terminal.stats.get("error", []))


def _count_as_passed(stats: dict[str, list[Any]], name: str) -> None:
    for category in ("failed", "error"):
        stats[category] = [report for report in stats.get(category, []) if report.nodeid != name]
        if not stats[category]:
            del stats[category]
    passed = stats.setdefault("passed", [])
    if not any(report.nodeid == name for report in passed):  # it is there when only its teardown failed
        passed.append(pytest.TestReport(name, ("", None, name), {}, "passed", None, "call"))
