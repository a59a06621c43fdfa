"""The command `footfall doctor`: one page of what is wrong, and what to do."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

import click
import msgspec

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings, spell

_MARKS = {"ok": "ok", "warning": "warning", "wrong": "WRONG", "not asked": "?"}


@click.command(cls=SettingsCommand)
@click.option("--all", "everything", is_flag=True, help="Read the whole archive and the whole warehouse.")
@with_json
@with_settings
def doctor(settings: Settings, everything: bool, as_json: bool) -> None:
    """Look at everything that may be wrong, and say what to do. It changes nothing.

    It may be asked while `footfall up` runs and while it does not, and answers within five seconds whatever hangs. Exit
    status 1 if something is wrong; a warning is none.
    """
    from infra.doctor.examination import Examination

    if settings.embedded and not settings.data.is_dir():
        raise Failed(f"there is no data folder {settings.data}: name yours by {spell('data')}; `footfall up` makes one")

    def progress(done: int, of: int) -> None:
        if done % 100 == 0 or done == of:
            click.echo(f"\r{done:,} of {of:,} files of the archive read", nl=done == of, err=True)

    begun = time.monotonic()
    examination = Examination(settings, progress if everything else None)
    states: Counter[str] = Counter()
    for found in examination.findings():
        states[found.state] += 1
        if as_json:
            click.echo(msgspec.json.encode(found))
        else:
            click.echo(f"{_MARKS[found.state]:<8} {found.check:<13} {found.finding}")
            if found.remedy:
                click.echo(f"{'':<22} -> {found.remedy}")
    if not as_json:
        counted = ", ".join(f"{states[state]} {state}" for state in ("wrong", "warning", "not asked", "ok"))
        click.echo(f"{counted}; looked for {time.monotonic() - begun:.1f} s")
    status = 1 if states["wrong"] else 0
    # What does not answer would hold up the end of this process, too; and the warehouse's engine, opened by a thread,
    # can fault while Python takes itself down around it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
