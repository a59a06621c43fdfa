"""What a Kafka URL says: `kafka://host:9092,other:9092?client=kafka-python&tls=true&sasl=SCRAM-SHA-512`.

User name and password come as secrets (or, for a trial, in the URL) and are never printed.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from brokers.options import hide_credentials, read_options, whole_number

_DEFAULTS = {
    "acks": "all",  # named because everybody looks for it; nothing less is durable
    "client": "confluent",
    "timeout_ms": "10000",  # bound of a publish and of every question
    "linger_ms": "1",  # how long the client waits for company in a batch
    "compression": "lz4",
    "max_record_bytes": "1000000",
    "tls": "false",
    "ca": "",
    "certificate": "",
    "key": "",
    "sasl": "",
}
_CHOICES = {
    "acks": ("all",),
    "client": ("confluent", "kafka-python"),
    "compression": ("none", "gzip", "lz4", "snappy", "zstd"),
    "tls": ("false", "true"),
    "sasl": ("", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
}


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked and typed. `shown` is the URL without credentials."""

    shown: str
    servers: str
    client: str
    timeout: float  # seconds
    linger_ms: int
    compression: str
    max_record_bytes: int
    tls: bool
    ca: str
    certificate: str
    key: str
    sasl: str
    username: str
    password: str

    @property
    def protocol(self) -> str:
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")


def parse(url: str, secrets: dict[str, str]) -> KafkaSettings:
    """Raises ValueError with every word that is not understood."""
    parts = urlsplit(url)
    options = read_options(url, _DEFAULTS)
    for name, choices in _CHOICES.items():
        if options[name] not in choices:
            raise ValueError(f"option {name}={options[name]!r}: choose {' or '.join(filter(None, choices))}")
    for name in ("ca", "certificate", "key"):
        if options[name] and not Path(options[name]).is_file():
            raise ValueError(f"option {name}={options[name]!r}: there is no such file")
    userinfo, _, servers = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    username = secrets.get("username") or unquote(user)
    password = secrets.get("password") or unquote(password)
    shown = hide_credentials(url)
    if not servers:
        raise ValueError(f"{shown}: name a broker, as in kafka://localhost:9092")
    if options["sasl"] and not (username and password):
        raise ValueError(f"{shown}: sasl={options['sasl']} needs a user name and a password among the secrets")
    if userinfo and not options["sasl"]:
        raise ValueError(f"{shown}: a user name needs sasl=PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    return KafkaSettings(
        shown=shown,
        servers=",".join(server if ":" in server else f"{server}:9092" for server in servers.split(",")),
        client=options["client"],
        timeout=whole_number(options, "timeout_ms", least=100) / 1000,
        linger_ms=whole_number(options, "linger_ms", least=0),
        compression=options["compression"],
        max_record_bytes=whole_number(options, "max_record_bytes"),
        tls=options["tls"] == "true",
        ca=options["ca"],
        certificate=options["certificate"],
        key=options["key"],
        sasl=options["sasl"],
        username=username,
        password=password,
    )
