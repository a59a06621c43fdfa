"""Who may reach the dashboards, from the settings: what must be set before they listen, and the walls themselves."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import click

from infra.settings import DASHBOARDS_TOKEN, Settings, spell

if TYPE_CHECKING:
    from dashboards.access import Access

_SHORT = 16  # characters; a random token has more
_MAKE_ONE = "python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"


def refuse_unguarded(settings: Settings) -> None:
    """Raises `click.UsageError` when the dashboards would be open to whoever reaches this machine."""
    if settings.dashboards_secret or _is_loopback(settings.dashboards_host):
        return
    raise click.UsageError(
        f"dashboards that listen on {settings.dashboards_host or 'every address'} show all numbers, and answer SQL, to "
        f'whoever reaches this machine. Set a token (export {DASHBOARDS_TOKEN}="$({_MAKE_ONE})") or '
        f"{spell('dashboards_password_file')}; or keep them on loopback by --dashboards-host 127.0.0.1"
    )


def remarks(settings: Settings) -> list[str]:
    """What whoever starts the dashboards should know about who reaches them."""
    said = []
    if settings.dashboards_secret and len(settings.dashboards_secret) < _SHORT:
        said.append(f"the dashboards' token is short and may be guessed; make a long one: {_MAKE_ONE}")
    if _is_everywhere(settings.dashboards_host) and not settings.dashboards_url:
        said.append(f"the dashboards answer to localhost only; name what you open by {spell('dashboards_url')}")
    if settings.dashboards_url and not settings.dashboards_secret:
        said.append(
            f"the dashboards ask for no token: whoever may open {settings.dashboards_url} sees all numbers, unless the "
            f"proxy before them asks ({DASHBOARDS_TOKEN} sets one)"
        )
    return said


def of(settings: Settings) -> Access:
    """The walls of the dashboards port."""
    from dashboards.access import Access
    from ingest.client import Proxies

    return Access(
        [settings.dashboards_host],
        url=settings.dashboards_url,
        secret=settings.dashboards_secret,
        client=Proxies(settings.proxies).client,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_everywhere(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
