"""Commands that are given the wrong folder or the wrong site say so, and make nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.cli import footfall
from tests.e2e.harness import SITE

DAYS = ("--from", "2025-06-01", "--to", "2025-06-02")
VISITOR = "0123456789abcdef"
LETTER = VISITOR + "0123456789ab"
ASKING = [
    ("replay", *DAYS),
    ("replay", *DAYS, "--dry-run", "--rules", "ga4"),
    ("audit",),
    ("doctor",),
    ("backup", "copy"),
    ("forget", "--site", SITE, "--visitor", VISITOR, "--dry-run"),
    ("dead-letters", "list"),
    ("dead-letters", "show", LETTER),
    ("dead-letters", "edit", LETTER, "--with", "s/a/b/"),
    ("dead-letters", "replay", LETTER),
    ("dead-letters", "discard", LETTER),
    ("archive", "flush"),
    ("archive", "check"),
    ("reconcile",),
    ("migrate",),
    ("sql", "SELECT 1"),
    ("units",),
    ("report", "send", SITE, "ann@example.com"),
    ("alert", "test", "1"),
]
OF_A_SITE = [
    ("replay", *DAYS),
    ("replay", *DAYS, "--dry-run", "--gap", "15"),
    ("forget", "--visitor", VISITOR, "--yes"),
    ("dead-letters", "list"),
    ("dead-letters", "replay"),
    ("dead-letters", "discard"),
]


def spelled(arguments: tuple[str, ...]) -> str:
    return " ".join(arguments[:3])


@pytest.mark.parametrize("arguments", ASKING, ids=spelled)
def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    data = tmp_path / "data"
    asked = CliRunner().invoke(footfall, [*arguments, "--data", str(data)])
    assert (asked.exit_code, f"there is no data folder {data}" in asked.output) == (1, True), asked.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("replay", *DAYS), ("audit",), ("archive", "flush")], ids=spelled)
def test_a_folder_of_something_else_stays_as_it_is(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "letter.txt").touch()
    asked = CliRunner().invoke(footfall, [*arguments, "--data", str(tmp_path)])
    assert (asked.exit_code, "nothing of Footfall" in asked.output) == (1, True), asked.output
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_site_that_is_not_known_is_wrong_usage_and_those_that_are_get_named(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    for domain in (SITE, "shop.example"):
        assert CliRunner().invoke(footfall, ["site", "add", domain, *data]).exit_code == 0
    for arguments in OF_A_SITE:
        asked = CliRunner().invoke(footfall, [*arguments, "--site", "exmaple.com", *data])
        assert asked.exit_code == 2, (arguments, asked.output)
        assert f"'exmaple.com' is no site, and nothing is stored of it; known: {SITE}, shop.example" in asked.output
    quiet = CliRunner().invoke(footfall, ["replay", *DAYS, "--site", SITE, *data])
    assert (quiet.exit_code, "no events on these days" in quiet.output) == (0, True), quiet.output
    listed = CliRunner().invoke(footfall, ["dead-letters", "list", "--site", "-", "--json", *data])
    assert (listed.exit_code, [json.loads(line) for line in listed.stdout.splitlines()]) == (0, [])
