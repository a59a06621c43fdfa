"""What must be documented is: every command, setting, verb and refusal; and no link leads nowhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from infra import cli
from infra.settings import DASHBOARDS_TOKEN, HELP, PREFIX, SECRETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = list(commands(cli.footfall))


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_every_command_is_in_the_readme(path: tuple[str, ...]) -> None:
    group, *rest = path
    pattern = rf"`[^`]*\b{group}\b" + (rf"[^`]*\b{rest[0]}\b" if rest else "")
    assert re.search(pattern, README)


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_and_option_says_what_it_does(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("variable", [*(PREFIX + name.upper() for name in HELP), *SECRETS.values(), DASHBOARDS_TOKEN])
def test_every_setting_is_in_the_readme(variable: str) -> None:
    assert f"`{variable}`" in README


def test_every_verb_of_dev_is_listed_by_it() -> None:
    text = (ROOT / "dev").read_text(encoding="utf-8")
    listed = subprocess.run([ROOT / "dev"], capture_output=True, text=True, check=True).stdout
    cases = text.partition("case $verb in")[2]
    verbs = {
        verb
        for arms in re.findall(r"^  ([a-z][a-z |]*)\)", cases, re.MULTILINE)
        for verb in arms.split(" | ")
    }
    assert "test" in verbs
    assert {verb for verb in verbs if not re.search(rf"^  {verb}\b", listed, re.MULTILINE)} == set()


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_no_link_leads_nowhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:activity|brokers|stores|ingest|pipeline|dashboards|infra|tests)/[\w./-]+\.\w+)`", text)
    assert [target for target in {*targets, *named} if not (ROOT / target).exists()] == []
