"""Under which names the dashboards answer, and which requests a page of another site sent.

A foreign name that resolves to this machine (DNS rebinding) is refused: the `Host` must be in a closed list. `/live`
and `/ready` answer under any name, because they reveal nothing and an orchestrator calls them by address. `/metrics`
also answers under any bare address, which no foreign page can claim as its own.

A request that a page of another site made a browser send is refused, except for links. `Sec-Fetch-Site` shows it, or
else `Origin` or `Referer`. Clients that send none of these are not browsers and pass. With `SameSite=Strict` on the
cookie of a session, this is the defence against forged requests (CSRF); it needs no token in forms.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_SAFE = {"GET", "HEAD", "OPTIONS"}
_OWN = {"same-origin", "none"}
_EMBEDDED = {"iframe", "frame", "object", "embed"}
_UNNAMED = {"health.live", "health.ready"}


@dataclass(frozen=True)
class Refusal:
    """A refused request: its HTTP status, and what to do, in words."""

    status: int
    words: str


class Hosts:
    """The names of one dashboards port: `names`, loopback, and the host of `url`, where browsers reach it."""

    def __init__(self, names: Iterable[str] = (), url: str = "") -> None:
        self._url = urlsplit(url)
        named = {_plain(host) for host in (*names, self._url.hostname or "", "localhost")}
        self._hosts = named - {"", "0.0.0.0", "::"}  # noqa: S104 - nobody opens "everywhere" as an address

    def wrong_host(self, host: str, endpoint: str | None) -> Refusal | None:
        """The refusal of a request under a name that is not ours; None if the name is right."""
        name = _host(host)
        if endpoint in _UNNAMED or (endpoint == "health.metrics" and host_address(name) is not None):
            return None
        if name and (name in self._hosts or _is_loopback(name)):
            return None
        return Refusal(
            421,
            f"no dashboards are served under the name {host[:200]!r}. If they are yours, start them with "
            "--dashboards-url (FOOTFALL_DASHBOARDS_URL) and the address that you opened",
        )

    def foreign(self, method: str, header: Callable[[str], str], *, framed: bool = False) -> Refusal | None:
        """The refusal of a request that another site's page made a browser send; None if it may pass, as links may.

        `framed` says that pages of other sites may show it in a frame."""
        site, mode = header("Sec-Fetch-Site"), header("Sec-Fetch-Mode")
        if site:
            followed = method in _SAFE and mode == "navigate" and (framed or header("Sec-Fetch-Dest") not in _EMBEDDED)
            own = site in _OWN or followed
        else:
            origin = header("Origin") or _origin(header("Referer"))
            own = method in _SAFE or not origin or origin.lower() in self._origins(header("Host"))
        return None if own else Refusal(403, "a page of another site sent this; only the dashboards' own pages may")

    def _origins(self, host: str) -> set[str]:
        return {f"http://{host}".lower(), f"{self._url.scheme}://{self._url.netloc}".lower()} - {"://"}

    def encrypted(self, host: str) -> bool:
        """Whether browsers use https for this name."""
        return self._url.scheme == "https" and _host(host) == _plain(self._url.hostname or "")


def host_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `host` is; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _origin(address: str) -> str:
    """The origin of an address; "" for an empty address."""
    try:
        split = urlsplit(address)
    except ValueError:
        return "null"
    return f"{split.scheme}://{split.netloc}" if address else ""


def _host(header: str) -> str:
    """The name or address in a Host header, without the port; "" if it is malformed."""
    try:
        split = urlsplit(f"//{header}")
        _ = split.port  # raises unless it is a number
        if split.netloc != header or split.username is not None or "[" in header[1:]:
            return ""
        return _plain(split.hostname or "")
    except ValueError:
        return ""


def _plain(host: str) -> str:
    """The canonical spelling of a name or an address."""
    address = host_address(host.strip("[]"))
    if address is not None:
        return str(address)
    try:
        return host.lower().encode("idna").decode()
    except UnicodeError:
        return host.lower()


def _is_loopback(host: str) -> bool:
    address = host_address(host)
    return address is not None and address.is_loopback
