"""Who may reach the dashboards: what must be set before they listen, and the access rules that the settings give."""

from __future__ import annotations

import ipaddress
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from infra.settings import DASHBOARDS_TOKEN, Settings, spell

if TYPE_CHECKING:
    from dashboards.access import Access
    from dashboards.access.oidc import Provider
    from stores.accounts import Accounts

_SHORT = 16  # characters; a random token has more
_MAKE_ONE = "python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"


def refuse_unguarded(settings: Settings) -> None:
    """Raises `click.UsageError` if the dashboards would be open to anyone who can reach this machine."""
    if settings.dashboards_secret or _is_loopback(settings.dashboards_host) or _has_owner(settings):
        return
    raise click.UsageError(
        f"dashboards that listen on {settings.dashboards_host or 'every address'} show all numbers, and answer SQL, to "
        f'anyone who can reach this machine. Add an account (footfall user add NAME --role owner); or set a token '
        f'(export {DASHBOARDS_TOKEN}="$({_MAKE_ONE})") or '
        f"{spell('dashboards_password_file')}; or keep them on loopback with --dashboards-host 127.0.0.1"
    )


def remarks(settings: Settings) -> list[str]:
    """What the person who starts the dashboards should know about who can reach them, a sentence each."""
    said = []
    if settings.dashboards_secret and len(settings.dashboards_secret) < _SHORT:
        said.append(f"the dashboards' token is short and may be guessed; make a long one: {_MAKE_ONE}")
    if _is_everywhere(settings.dashboards_host) and not settings.dashboards_url:
        said.append(f"the dashboards answer only to localhost; set {spell('dashboards_url')} to the address you open")
    if settings.dashboards_url and not settings.dashboards_secret and not _has_owner(settings):
        said.append(
            f"the dashboards ask for no token: anyone who can open {settings.dashboards_url} sees all numbers, unless "
            f"the proxy in front of them asks for one ({DASHBOARDS_TOKEN} sets one; footfall user add adds accounts)"
        )
    return said


def of(settings: Settings, accounts: Accounts) -> Access:
    """The access rules of the dashboards port."""
    from dashboards.access import Access
    from ingest.client import Proxies

    found = provider(settings)
    return Access(
        [settings.dashboards_host],
        url=settings.dashboards_url,
        secret=settings.dashboards_secret,
        accounts=accounts,
        provider_name=found.name if found else "",
        client=Proxies(settings.proxies).client,
    )


def provider(settings: Settings) -> Provider | None:
    """The OpenID Connect provider of the settings. Raises `click.UsageError` if what it needs is not installed."""
    from dashboards.access.oidc import Provider

    if not settings.oidc_issuer:
        return None
    if find_spec("authlib") is None or find_spec("requests") is None:
        raise click.UsageError(f"{spell('oidc_issuer')} needs Authlib: pip install 'footfall[oidc]'")
    return Provider(settings.oidc_issuer, settings.oidc_client_id, settings.oidc_secret)


def _has_owner(settings: Settings) -> bool:
    from infra.errors import in_words
    from infra.wiring import Parts

    with in_words(), Parts(settings) as parts:
        return parts.accounts.users.any_owner


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
