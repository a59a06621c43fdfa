"""`footfall share`: addresses by which anybody reads the pages of one site, without an account."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path

import click

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.commands.users import grants_of, note, opened, read_password
from infra.settings import Settings

_with_site = click.option("--site", required=True, help="The site whose pages are shared.")


@click.group()
def share() -> None:
    """Manage addresses by which anybody reads the pages of one site, without an account."""


@share.command(cls=SettingsCommand)
@click.argument("name")
@_with_site
@click.option("--days", type=click.IntRange(1, 36_500), help="How long it holds; else until it is removed.")
@click.option(
    "--password-file", type=click.Path(dir_okay=False, path_type=Path),
    help="File with a password that is asked for, on one line; - is stdin.",
)  # fmt: skip
@click.option("--files", is_flag=True, help="Rows and lists may be saved as files too.")
@click.option(
    "--embed", "origins", multiple=True,
    help="Pages of this origin may show it in a frame, such as https://intranet.example.com. Repeatable.",
)  # fmt: skip
@with_json
@with_settings
def add(
    settings: Settings, name: str, site: str, days: int | None, password_file: Path | None, files: bool,
    origins: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Share a site's pages with NAME, who is whoever gets the address. It is printed once."""
    from infra.addresses import dashboards_url

    grants_of(settings, "viewer", (site,))
    password = read_password(password_file) if password_file else ""
    with opened(settings) as accounts:
        token = accounts.shares.add(
            site, name, getpass.getuser(), days=days, password=password, files=files, origins=origins
        )
        note(accounts, f"made the share {name}", site)
    address = f"{dashboards_url(settings).rstrip('/')}/share/{token}/{site}"
    if as_json:
        click.echo(json.dumps({"share": name, "site": site, "address": address}))
    else:
        click.echo(f"The address of {name}, shown only now: {address}")
        if origins:
            frame = f'src="{address}?theme=system" title="Numbers of {site}" width="100%" height="900"'
            click.echo(f"<iframe {frame}></iframe>")


@share.command("list", cls=SettingsCommand)
@click.option("--site", help="Only those of this site.")
@with_json
@with_settings
def list_(settings: Settings, site: str | None, as_json: bool) -> None:
    """List the shares: of which site, by whom, when they were used last and when they run out."""
    with opened(settings) as accounts:
        shares = accounts.shares.all(site)
    if not shares and not as_json:
        click.echo("No share yet: footfall share add NAME --site example.com", err=True)
    for each in shares:
        used, expires = _time(each.used), _time(each.expires)
        if as_json:
            told = {
                "share": each.name, "site": each.site, "by": each.made_by, "used": used, "expires": expires,
                "password": each.password is not None, "files": each.files, "origins": list(each.origins),
            }  # fmt: skip
            click.echo(json.dumps(told))
        else:
            ends = f"until {expires}" if expires else "until it is removed"
            click.echo(f"{each.name}\t{each.site}\tby {each.made_by}\tused {used or 'never'}\t{ends}")


@share.command(cls=SettingsCommand)
@click.argument("name")
@_with_site
@with_json
@with_settings
def remove(settings: Settings, name: str, site: str, as_json: bool) -> None:
    """Withdraw the share NAME; its address opens nothing from now on."""
    with opened(settings) as accounts:
        accounts.shares.remove(site, name)
        note(accounts, f"withdrew the share {name}", site)
    click.echo(json.dumps({"share": name, "removed": True}) if as_json else f"the share {name} of {site} is withdrawn")


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
