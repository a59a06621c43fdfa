"""What a Pulsar URL says: `pulsar://host:6650/tenant/namespace?admin=http://host:8080`, or `pulsar+ssl://` over TLS.

The token comes as a secret and is never printed. Without a path, the namespace is Pulsar's own `public/default`.
Without `admin`, the admin service is on the same hosts, at its usual port.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

from brokers.checks import check_choice, check_tls_files, hide_credentials, on_loopback, read_options, whole_number

_DEFAULTS = {
    "admin": "",
    "timeout_ms": "10000",  # bound of a publish and of every other request
    "linger_ms": "1",  # how long the client waits to fill a batch
    "compression": "lz4",
    "max_record_bytes": "1000000",
    "ca": "",
    "certificate": "",
    "key": "",
}
_COMPRESSIONS = ("none", "lz4", "snappy", "zlib", "zstd")
_NAMESPACE = re.compile(r"[A-Za-z0-9_=:.-]+/[A-Za-z0-9_=:.-]+")


class PulsarSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings. `shown` is the URL without credentials, `admin` the addresses of the admin service."""

    shown: str
    service: str
    admin: tuple[str, ...]
    namespace: str  # tenant/namespace
    timeout: float  # seconds
    linger_ms: int
    compression: str
    max_record_bytes: int
    ca: str
    certificate: str
    key: str
    token: str


def parse(url: str, secrets: dict[str, str]) -> PulsarSettings:
    """Return the settings of `url`. Raises ValueError if something in it is not understood or does not fit."""
    parts = urlsplit(url)
    options = read_options(url, _DEFAULTS)
    shown = hide_credentials(url)
    check_choice(options, "compression", _COMPRESSIONS)
    check_tls_files(options, shown)
    if "@" in parts.netloc:
        raise ValueError(f"{shown}: Pulsar knows no user names: give the token among the secrets, or a certificate")
    if not parts.netloc:
        raise ValueError(f"{shown}: name a broker, as in pulsar://localhost:6650")
    if secrets.get("username") or secrets.get("password"):
        raise ValueError(f"{shown}: Pulsar takes a token or a client's certificate, not a user name and password")
    namespace = parts.path.strip("/") or "public/default"
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError(f"{shown}: {namespace!r} is no tenant/namespace, as in pulsar://localhost:6650/public/default")
    tls = parts.scheme == "pulsar+ssl"
    hosts = parts.netloc.split(",")
    if not tls and any(options[name] for name in ("ca", "certificate", "key")):
        raise ValueError(f"{shown}: ca=, certificate= and key= need pulsar+ssl://")
    if not tls and secrets.get("token") and not on_loopback(map(_host, hosts)):
        raise ValueError(f"{shown}: the token would be sent in the clear: write pulsar+ssl://")
    port, web, web_port = (6651, "https", 8443) if tls else (6650, "http", 8080)
    admin = options["admin"].split(",") if options["admin"] else [f"{web}://{_host(host)}:{web_port}" for host in hosts]
    for address in admin:
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
            raise ValueError(f"option admin={address!r}: give its address, as in http://localhost:8080")
    return PulsarSettings(
        shown=shown,
        service=f"{parts.scheme}://" + ",".join(host if _has_port(host) else f"{host}:{port}" for host in hosts),
        admin=tuple(address.rstrip("/") for address in admin),
        namespace=namespace,
        timeout=whole_number(options, "timeout_ms", least=100) / 1000,
        linger_ms=whole_number(options, "linger_ms", least=0),
        compression=options["compression"],
        max_record_bytes=whole_number(options, "max_record_bytes"),
        ca=options["ca"],
        certificate=options["certificate"],
        key=options["key"],
        token=secrets.get("token", ""),
    )


def _has_port(host: str) -> bool:
    return re.search(r":\d+$", host) is not None


def _host(host: str) -> str:
    return re.sub(r":\d+$", "", host)
