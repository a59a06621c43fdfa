"""Addresses made from the settings: to listen on, to print, to paste into a page."""

from __future__ import annotations

from infra.settings import Settings


def collect_url(settings: Settings) -> str:
    """Where browsers reach the tracking port: the setting if there is one, else the address it listens on."""
    return settings.collect_url or address(settings.host, settings.port)


def dashboards_url(settings: Settings) -> str:
    """Where browsers reach the dashboards: the setting if there is one, else the address they listen on."""
    return settings.dashboards_url or address(settings.dashboards_host, settings.dashboards_port)


def address(host: str, port: int) -> str:
    """A URL that a browser on this machine can open."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bind(host: str, port: int) -> str:
    """HOST:PORT for a server to listen on."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def script(site: str, collect: str) -> str:
    """The HTML to paste into a site's pages; `collect` is the URL of the tracking port."""
    return f'<script defer data-site="{site}" src="{collect}/beacon.js"></script>'
