"""The commands `footfall backup` and `footfall restore`, for the embedded parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.settings import Settings

_FOLDER = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")


@click.command(cls=SettingsCommand)
@_FOLDER
@with_json
@with_settings
def backup(settings: Settings, folder: Path, as_json: bool) -> None:
    """Copy everything that is kept into a new folder DIR, also while `footfall up` runs.

    Events are taken all the time. The numbers stand still for the moment in which warehouse and checkpoint are frozen;
    how long that was is printed. DIR is there when it is whole and on disk; whoever can read it has the keys, the
    salts and the accounts. `footfall restore` brings it back, and docs/backup.md has the rest, servers too.
    """
    from infra.backup import places
    from infra.processes.session import session

    places.refuse(settings, "footfall backup")
    with session(settings, "footfall backup") as work:
        done = _followed(work.call("backup", {"folder": str(folder.expanduser().absolute())}), as_json)
    if not as_json:
        click.echo(
            f"{done['backup']}: {done['files']:,} files, {_mb(done['bytes'])}, {done['events']:,} events,"
            f" {done['sessions']:,} sessions; the numbers stood still for {done['paused_ms']:,} ms"
        )


@click.command(cls=SettingsCommand)
@_FOLDER
@with_json
@with_settings
def restore(settings: Settings, folder: Path, as_json: bool) -> None:
    """Make a new data folder, named by --data, of the backup in DIR.

    Every checksum is verified before anything is written. Then the restored warehouse is opened, and its digests,
    counts and checksums are compared with those of the backup; only if they are equal the folder counts. `footfall up`
    on it loads what the log holds beyond the checkpoint.
    """
    from infra.backup.restore import restore as run

    done = _followed(run(settings, folder.expanduser().absolute(), _alone(settings)), as_json)
    if not as_json:
        click.echo(
            f"{done['restored']}: as of {done['taken_at']}, {done['files']:,} files, {_mb(done['bytes'])}. Proved: the"
            f" checksum of every file, {done['events']:,} events and {done['sessions']:,} sessions in all, and the"
            f" digests of {done['days']} site-days"
        )


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Holds the data folder for a restore. Raises `Failed` when another process has it."""
    from infra.processes.lock import DataLock

    lock = DataLock(settings.data)
    lock.take("footfall restore")
    try:
        yield
    finally:
        lock.release()


def _followed(lines: Iterable[dict[str, Any]], as_json: bool) -> dict[str, Any]:
    """Shows progress on stderr and, with --json, every other line; returns the last one."""
    line: dict[str, Any] = {}
    shown = False
    for line in lines:
        if "of" in line:
            did = next(name for name in ("verified", "written", "copied") if name in line)
            what = f"{line['part']}: " if "part" in line else ""
            click.echo(f"\r{what}{_mb(line[did])} of {_mb(line['of'])} {did}   ", nl=False, err=True)
            shown = True
            continue
        if shown:
            click.echo(err=True)
            shown = False
        if as_json:
            click.echo(json.dumps(line))
        elif "equal" in line:
            told = "equal" if line["equal"] else "DIFFERENT"
            click.echo(f"{line['day']}  {line['site']}  {line['sessions']:,} sessions  {line['sha256'][:16]}  {told}")
    return line


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
