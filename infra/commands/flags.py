"""The flags that every command shares: one for each setting, and `--json`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infra.backup.stage import PROVED, STAGE, put_in_place
from infra.errors import Failed
from infra.processes.lock import DataLock
from infra.settings import HELP, BadSettings, Settings

if TYPE_CHECKING:
    from infra.processes.session import Session

_MARK = "__footfall_setting__"
_NAMED = 10  # sites


class SettingsCommand(click.Command):
    """A command whose help lists the settings in a section of their own, below its own options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        settings: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                (settings if getattr(parameter, _MARK, False) else own).append(record)
        with formatter.section("Options"):
            formatter.write_dl(own)
        if settings:
            with formatter.section("Settings (each also an environment variable, --broker as FOOTFALL_BROKER)"):
                formatter.write_dl(settings)


def with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds a flag for each setting; the function gets one `Settings` instead of them."""

    @functools.wraps(function)
    def wrapper(**arguments: Any) -> Any:
        flags = {name: arguments.pop(f"setting_{name}") for name in HELP}
        try:
            settings = Settings.load(os.environ, flags)
        except BadSettings as error:
            raise click.UsageError("these settings cannot be used:\n  " + "\n  ".join(error.problems)) from error
        if function.__name__ not in ("restore", "doctor"):
            _end_restore(settings.data)
        return function(settings=settings, **arguments)

    for name, text in reversed(HELP.items()):
        flag = f"--{name.replace('_', '-')}"
        option = click.option(flag, f"setting_{name}", metavar=_metavar(name), help=text)
        option(wrapper)
    for parameter in wrapper.__click_params__:  # type: ignore[attr-defined]
        if parameter.name is not None and parameter.name.startswith("setting_"):
            setattr(parameter, _MARK, True)
    return wrapper


def _is_there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except PermissionError:  # another user's, which this command may not need
        return False


def _end_restore(data: Path) -> None:
    """Finish a restore that was killed after all was proved. Raises `Failed` for one that was killed before.

    Every command does so, before it looks at the data folder."""
    if not _is_there(data / PROVED) and not _is_there(data / STAGE):
        return
    lock = DataLock(data)
    lock.take("footfall restore")
    try:
        put_in_place(data)
        if _is_there(data / STAGE):
            raise Failed(
                f"a restore to {data} was broken off, so there is nothing yet: run `footfall restore` again, which"
                f" begins anew, or remove {data / STAGE}"
            )
    finally:
        lock.release()


def _metavar(name: str) -> str:
    if name == "data":
        return "DIR"
    if name in ("sites", "geo", "dashboards_password_file", "oidc_client_secret_file", "smtp_password_file"):
        return "FILE"
    if name in ("port", "dashboards_port"):
        return "N"
    if name in ("oidc_client_id", "mail_from"):
        return "TEXT"
    if name in ("proxies", "webhook_networks"):
        return "LIST"
    return {"host": "ADDRESS", "dashboards_host": "ADDRESS"}.get(name, "URL")


with_json = click.option("--json", "as_json", is_flag=True, help="JSON Lines on stdout; progress stays on stderr.")


def refuse_unknown_site(work: Session, site: str) -> None:
    """Raises `click.BadParameter` for a site that is neither in the sites file nor in anything stored."""
    (found,) = work.call("known-site", {"site": site})
    if found["known"]:
        return
    names, more = found["sites"][:_NAMED], len(found["sites"]) - _NAMED
    known = (", ".join(names) or "none yet") + (f" and {more} more, see `footfall site list`" if more > 0 else "")
    raise click.BadParameter(f"{site!r} is no site, and nothing is stored of it; known: {known}", param_hint="--site")
