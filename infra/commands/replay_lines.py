"""What `footfall replay` prints: on stdout the days, with what changes in them, on stderr how far it is."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

_STAGES = {"log": "reading the log", "days": "replaying"}
_CHANGES = ("added", "removed", "changed")


class ReplayLines:
    """Prints the lines of the verb `replay` (`infra.processes.jobs`) as they come, and counts the days.

    It is a context manager, which ends the progress bar."""

    def __init__(self, *, as_json: bool) -> None:
        self.days = 0
        self.unequal = 0
        self._as_json = as_json
        self._bar: Any = None
        self._stage = ""
        self._begun = 0.0
        self._at = 0  # events, of the stage
        self._last_day = ""

    def __enter__(self) -> ReplayLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def take(self, line: dict[str, Any]) -> None:
        """Print one line."""
        if "stage" not in line:
            self._day(line)
        elif line["goes_on_from"]:
            click.echo(f"a replay that was broken off goes on from day {line['goes_on_from']}", err=True)
        else:
            self._progress(line)

    def _day(self, line: dict[str, Any]) -> None:
        self.days += 1
        self.unequal += not line["equal"]
        self._last_day = f", {line['day']} done"
        self.show(json.dumps(line) if self._as_json else in_words(line))

    def show(self, text: str) -> None:
        """Print text on stdout in the place of the bar, which is drawn again below it."""
        if self._bar is not None and sys.stderr.isatty():
            click.echo("\r\x1b[2K", nl=False, err=True)
        click.echo(text)

    def _progress(self, line: dict[str, Any]) -> None:
        stage, read, total = line["stage"], line["read"], line["of"]
        if stage != self._stage or read < self._at:
            self._end_bar()
            self._stage, self._begun, self._at = stage, time.monotonic(), 0
            # How long the log is nobody knows: the bar then shows that something moves.
            endless = itertools.count() if total is None else None
            self._bar = click.progressbar(
                endless, total, label=_STAGES[stage], file=sys.stderr, item_show_func=lambda text: str(text or "")
            )
            self._bar.__enter__()
        rate = read / max(time.monotonic() - self._begun, 0.001)
        self._bar.update(read - self._at, f"{read:,} events, {rate:,.0f}/s{self._last_day}")
        self._at = read

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def in_words(line: Mapping[str, Any]) -> str:
    """The line of a site and day, and below it how many sessions change and an example of each kind."""
    equal = "equal" if line["equal"] else f"NOT EQUAL to what was stored: {', '.join(line['differs'])}"
    told = (
        f"{line['day']} {line['site']}: {line['events']} events, {line['sessions']} sessions, "
        f"{line['visitors']} visitors, sha256 {line['sha256']}, {equal}"
    )
    changes = line["changes"]
    if not changes["examples"]:
        return told
    counts = ", ".join(f"{changes[kind]:,} {kind}" for kind in _CHANGES)
    return "\n".join([told, f"  sessions: {counts}", *(f"  {_example(one)}" for one in changes["examples"])])


def _example(example: Mapping[str, Any]) -> str:
    """One session: its visitor, its start, and its columns, of a changed one as `stored -> rebuilt`."""
    changed = example["change"] == "changed"
    columns = [
        f"{name} {json.dumps(value[0], ensure_ascii=False)} -> {json.dumps(value[1], ensure_ascii=False)}"
        if changed
        else f"{name} {json.dumps(value, ensure_ascii=False)}"
        for name, value in example["columns"].items()
    ]
    return (
        f"{example['change']}, for example: visitor {example['visitor']}, started {example['started_at']} UTC: "
        f"{', '.join(columns)}"
    )
