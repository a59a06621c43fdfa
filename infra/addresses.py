"""Addresses as settings give them: to listen on, to print, to paste into a page."""

from __future__ import annotations

from infra.settings import Settings


def collect_url(settings: Settings) -> str:
    """Where browsers reach the tracking port: as set, else as it listens."""
    return settings.collect_url or address(settings.host, settings.port)


def dashboards_url(settings: Settings) -> str:
    """Where browsers reach the dashboards: as set, else as they listen."""
    return settings.dashboards_url or address(settings.dashboards_host, settings.dashboards_port)


def address(host: str, port: int) -> str:
    """An address that a browser on this machine can open."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bind(host: str, port: int) -> str:
    """What a server is told to listen on."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def script(site: str, collect: str) -> str:
    return f'<script defer data-site="{site}" src="{collect}/beacon.js"></script>'
