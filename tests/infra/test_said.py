"""What commands understand of an hour, and how they end when nobody reads them any more or Ctrl-C comes."""

from __future__ import annotations

import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from infra.commands.audit import _hour
from tests.e2e.harness import PATIENCE, command, environment, footfall, until

NOW = datetime(2026, 3, 29, 13, 14, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("7", 7), ("07", 7), ("0", 0), ("2026-03-29T13", 13), ("2026-03-29 13", 13), ("2026-03-29T13:00", 13),
        ("2026-03-29T13:00:00Z", 13), ("2026-03-29T13Z", 13), ("2026-03-29T13:00+02:00", 11), ("20260329T13", 13),
    ],
)  # fmt: skip
def test_an_hour_is_what_it_says(text: str, hour: int) -> None:
    assert _hour(text, NOW) == datetime(2026, 3, 29, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "24", "-1", "now", "13:00", "2026-03-29", "20260329", "2026-03-29T13:30", "2026-03-29T13:00+05:30",
             "2026-02-30T01", "0001-01-01T00:00+02:00"],
)  # fmt: skip
def test_what_is_no_hour_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no hour of UTC"):
        _hour(text, NOW)


def test_a_reader_that_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    assert footfall("site", "add", "example.com", *data).returncode == 0
    line = [*command(), "doctor", *data]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        asked.stdout.close()
        assert (asked.stderr.read(), asked.wait(PATIENCE)) == (b"", 0)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    assert footfall("site", "add", "example.com", *data).returncode == 0
    line = [*command(), "import", "-", "--format", "combined", "--site", "example.com", *data]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as waiting:
        assert waiting.stdin is not None
        waiting.stdin.write(b"a first line\n")
        waiting.stdin.flush()
        until((tmp_path / "data" / "log.db").exists, "it has opened the log")
        waiting.send_signal(signal.SIGINT)
        assert waiting.stderr is not None
        said = waiting.stderr.read()
    assert waiting.returncode == 130
    assert b"the same command again does the rest" in said
    assert b"Traceback" not in said
    assert b"Exception" not in said
