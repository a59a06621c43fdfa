"""`footfall user`: who may sign in at the dashboards, and what they may see there.

The accounts are a file of the data folder. A running server notices every change at once.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings

if TYPE_CHECKING:
    from stores.accounts import Accounts
    from stores.accounts.roles import Grants
    from stores.accounts.users import User

_ROLES = ["owner", "admin", "viewer"]
_with_role = click.option("--role", type=click.Choice(_ROLES), required=True, help="Owners do all, viewers only read.")
_with_sites = click.option("--site", "sites", multiple=True, help="Only for this site; repeatable. Else for all sites.")
_with_password = click.option(
    "--password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the password, on one line; - is stdin. Else it is asked for, or made and printed once.",
)


@click.group()
def user() -> None:
    """Manage who signs in at the dashboards. With the first user, everybody has to."""


@user.command(cls=SettingsCommand)
@click.argument("name")
@_with_role
@_with_sites
@_with_password
@with_json
@with_settings
def add(
    settings: Settings, name: str, role: str, sites: tuple[str, ...], password_file: Path | None, as_json: bool
) -> None:
    """Add the user NAME, such as an e-mail address. The first one has to be an owner."""
    with opened(settings) as accounts:
        grants = grants_of(settings, role, sites)
        password, made = _password(password_file, as_json)
        added = accounts.users.add(name, password, grants)
        note(accounts, f"added a user: {_roles(added)}", added.name)
    _say(added, "is added", password if made else None, as_json)


@user.command("list", cls=SettingsCommand)
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the users with their roles."""
    with opened(settings) as accounts:
        users = accounts.users.all()
    if not users and not as_json:
        click.echo("No user yet: footfall user add NAME --role owner", err=True)
    for each in users:
        if as_json:
            click.echo(json.dumps(_described(each)))
        else:
            click.echo(f"{each.name}\t{_roles(each)}{chr(9) + 'disabled' if each.disabled else ''}")


@user.command(cls=SettingsCommand)
@click.argument("name")
@with_json
@with_settings
def remove(settings: Settings, name: str, as_json: bool) -> None:
    """Remove the user NAME, and end the user's sessions. The last owner stays."""
    with opened(settings) as accounts:
        accounts.users.remove(name)
        note(accounts, "removed a user", name)
    click.echo(json.dumps({"user": name, "removed": True}) if as_json else f"{name} is removed")


@user.command(cls=SettingsCommand)
@click.argument("name")
@_with_password
@with_json
@with_settings
def password(settings: Settings, name: str, password_file: Path | None, as_json: bool) -> None:
    """Give the user NAME another password, and end the user's sessions."""
    with opened(settings) as accounts:
        found = accounts.users.get(name)
        text, made = _password(password_file, as_json)
        accounts.users.set_password(name, text)
        note(accounts, "set a password", found.name)
    _say(found, "has a new password", text if made else None, as_json)


@user.command("role", cls=SettingsCommand)
@click.argument("name")
@click.option("--role", type=click.Choice([*_ROLES, "none"]), required=True, help="As in user add; none takes it away.")
@_with_sites
@with_json
@with_settings
def role_(settings: Settings, name: str, role: str, sites: tuple[str, ...], as_json: bool) -> None:
    """Give the user NAME a role for all sites in place of what there was, or for some sites beside the others."""
    from stores.accounts.roles import Role

    with opened(settings) as accounts:
        if role != "none":
            grants_of(settings, role, sites)
        accounts.users.grant(name, None if role == "none" else Role(role), sites)
        found = accounts.users.get(name)
        note(accounts, f"set roles: {_roles(found)}", found.name)
    _say(found, "has new roles", None, as_json)


def note(accounts: Accounts, deed: str, target: str) -> None:
    """Writes what a command did to the audit log."""
    accounts.audit.add(f"command of {getpass.getuser()}", "", deed, target)


@user.command("no-code", cls=SettingsCommand)
@click.argument("name")
@with_json
@with_settings
def no_code(settings: Settings, name: str, as_json: bool) -> None:
    """Ask the user NAME for no code of an app any more, for instance because it is lost."""
    with opened(settings) as accounts:
        accounts.codes.turn_off(accounts.users.get(name))
        note(accounts, "turned off codes", name)
        found = accounts.users.get(name)
    _say(found, "is asked for no code", None, as_json)


@contextmanager
def opened(settings: Settings) -> Iterator[Accounts]:
    """The accounts of the data folder, which is made if it is missing."""
    from infra import private
    from infra.errors import in_words
    from infra.wiring import Parts

    with in_words(), Parts(settings) as parts:
        private.make(settings.data)
        yield parts.accounts


def grants_of(settings: Settings, role: str, sites: tuple[str, ...]) -> Grants:
    """A role for these sites, or for all. Raises `Failed` for a site that is not counted."""
    from ingest.sites import Sites
    from stores.accounts.roles import ALL, Grants, Role

    known = {site.domain for site in Sites(settings.sites).all()} if sites else set()
    for site in sites:
        if site not in known:
            counted = ", ".join(sorted(known)) or "none yet"
            raise Failed(f"{site} is not counted, so nobody can see it: footfall site add {site}; counted: {counted}")
    return Grants(dict.fromkeys(sites or [ALL], Role(role)))


def read_password(file: Path) -> str:
    """The password in a file, or on stdin if that is "-"."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    return text.rstrip("\r\n")


def _password(file: Path | None, as_json: bool) -> tuple[str, bool]:
    """The password of the file or of the person at the terminal; else a new one, and True."""
    from stores.accounts.users import new_password

    if file is not None:
        return read_password(file), False
    if sys.stdin.isatty() and not as_json:
        text = click.prompt("Password (empty: make one)", hide_input=True, default="", show_default=False)
        if text:
            if click.prompt("The same again", hide_input=True) != text:
                raise Failed("the two passwords differ; nothing is changed")
            return str(text), False
    return new_password(), True


def _say(user: User, done: str, password: str | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_described(user) | ({"password": password} if password else {})))
        return
    click.echo(f"{user.name} {done}: {_roles(user)}")
    if password:
        click.echo(f"The password, shown only now: {password}")


def _described(user: User) -> dict[str, object]:
    return {"user": user.name, "roles": dict(user.grants), "disabled": user.disabled, "code": user.code}


def _roles(user: User) -> str:
    held = [f"{role} of {'all sites' if site == '*' else site}" for site, role in sorted(user.grants.items())]
    return ", ".join(held) or "no role"
