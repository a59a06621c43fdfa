"""What must be documented is: every command, setting, verb and refusal; and no link leads nowhere."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from infra import cli
from infra.settings import DASHBOARDS_TOKEN, HELP, OIDC_SECRET, PREFIX, SECRETS, SMTP_PASSWORD

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


@pytest.mark.parametrize(
    "variable",
    [*(PREFIX + name.upper() for name in HELP), *SECRETS.values(), DASHBOARDS_TOKEN, OIDC_SECRET, SMTP_PASSWORD],
)
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


def test_the_map_names_every_file_and_the_walk_every_function() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    house = text.partition("## The map")[2].partition("## The walk")[0]
    rooms = dict(re.findall(r"^(\w+)/((?:.*\n)(?:^ .*\n)*)", house, re.MULTILINE))
    for folder, words in rooms.items():
        if folder in ("tests", "bench"):
            continue
        there = {path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("_")}
        there |= {path.parent.name + "/" for path in (ROOT / folder).glob("*/*.py")}
        assert there - set(re.findall(r"[\w]+/?", words)) == set(), folder
    walk = text.partition("## The walk of one event")[2].partition("\n## ")[0]
    code = "\n".join(path.read_text(encoding="utf-8") for folder in rooms for path in (ROOT / folder).rglob("*.py"))
    called = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", walk)}
    defined = set(re.findall(r"(?:def|class) (\w+)", code)) | {path.stem for path in ROOT.glob("*/*.py")}
    assert called - defined == set()


def test_every_public_name_of_the_domain_and_of_the_contracts_says_what_it_is() -> None:
    files = [*(ROOT / "activity").glob("*.py"), *(ROOT / "pipeline").glob("*.py")]
    silent = []
    for path in (*files, ROOT / "brokers" / "base.py", ROOT / "stores" / "base.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tops = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        members = [
            node
            for top in tops
            if isinstance(top, ast.ClassDef) and not top.name.startswith("_")
            for node in top.body
            if isinstance(node, ast.FunctionDef)
        ]
        beams = {"expand", "process", "encode", "decode", "estimate_size", "is_deterministic", "to_type_hint"}
        silent += [
            f"{path.relative_to(ROOT)}: {node.name}"
            for node in (*tops, *members)
            if not node.name.startswith("_") and node.name not in beams and not ast.get_docstring(node)
        ]
    assert silent == []
