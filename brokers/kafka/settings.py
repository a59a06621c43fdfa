"""What a Kafka URL says: `kafka://host:9092,other:9092?client=kafka-python&tls=true&sasl=SCRAM-SHA-512`.

User name, password and token come as secrets (or, for a trial, the first two in the URL) and are never printed.

A *profile* is what a maker or a host of Kafka brokers recommends to clients. The scheme (`redpanda://`,
`warpstream://`) or `?preset=` chooses it. It overrides the defaults, and the options in the URL override it; it lists
only what differs from the defaults. No profile weakens the contract: acks=all and the idempotent producer stay on
everywhere, because the suite promises the order per key and no repetition.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from brokers.checks import check_choice, check_tls_files, hide_credentials, on_loopback, read_options, whole_number

_DEFAULTS = {
    "acks": "all",  # named because everybody looks for it; nothing less is durable
    "client": "confluent",
    "preset": "",
    "timeout_ms": "10000",  # bound of a publish and of every other request
    "linger_ms": "1",  # how long the client waits to fill a batch
    "batch_bytes": "1000000",  # the most that one batch of a partition holds
    "compression": "lz4",
    "max_record_bytes": "1000000",
    "fetch_bytes": "52428800",  # the most that one answer to a reader holds
    "partition_fetch_bytes": "1048576",
    "metadata_age_ms": "300000",  # how long metadata of topics and brokers is believed
    "idle_ms": "540000",  # after so long an unused connection is closed
    "zone": "",  # where this process runs: readers are served by the nearest replica
    "tls": "false",
    "ca": "",
    "certificate": "",
    "key": "",
    "sasl": "",
    "oidc": "",  # with OAUTHBEARER: where user name and password are exchanged for a token
    "scope": "",
    "region": "",  # with MSK-IAM, if the host name does not contain it
}


class Profile(NamedTuple):
    """`options` override the defaults, by their names in a URL. With `zone_key`, the client id names the zone too."""

    product: str
    options: dict[str, str]
    port: int = 9092
    username: str = ""
    zone_key: str = ""


# The document that recommends each value is named in docs/brokers.md.
SCHEMES: dict[str, Profile] = {
    "kafka": Profile("Kafka", {}),
    "redpanda": Profile(
        "Redpanda",
        {"linger_ms": "5"},  # with acks=all every batch is flushed to disk before the ack: few larger ones cost less
    ),
    "warpstream": Profile(
        "WarpStream",
        {
            # An ack waits for an object to be written, about 400 ms at the 99th percentile: throughput comes from full
            # batches, and nobody notices 25 ms more.
            "linger_ms": "25",
            "metadata_age_ms": "60000",  # agents come and go, and clients find them by metadata
            "fetch_bytes": "104857600",  # agents count a fetch in uncompressed bytes, so the usual limit is soon met
            "partition_fetch_bytes": "52428800",
            "timeout_ms": "30000",  # one slow write to the object store must not fail a publish
        },
        zone_key="ws_az",
    ),
}

PRESETS: dict[str, Profile] = {
    "msk-iam": Profile(
        "Amazon MSK with IAM",
        {
            "tls": "true",  # IAM is offered on TLS alone: port 9098, or 9198 from outside
            "sasl": "MSK-IAM",  # a token signed with the AWS credentials of the process
        },
        port=9098,
    ),
    "confluent-cloud": Profile(
        "Confluent Cloud",
        {
            "tls": "true",  # the only listener
            "sasl": "PLAIN",  # the user name is an API key, the password its secret
            "timeout_ms": "30000",  # brokers are replaced under a running cluster
        },
    ),
    "event-hubs": Profile(
        "Azure Event Hubs",
        {
            "tls": "true",  # the only listener
            "sasl": "PLAIN",  # the password is a connection string of the namespace
            "metadata_age_ms": "180000",  # below the 240 s after which Azure drops idle connections
            "idle_ms": "180000",  # Azure drops connections that are idle for 240 s without saying so
            "timeout_ms": "60000",  # the service itself waits 20 s, and its document recommends at least 60 s
            "batch_bytes": "900000",  # requests above 1046528 bytes close the connection
            "compression": "none",  # the service accepts gzip alone, and not in every tier
        },
        port=9093,
        username="$ConnectionString",
    ),
}

_PASSWORDS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_CHOICES = {
    "acks": ("all",),
    "client": ("confluent", "kafka-python"),
    "preset": ("", *PRESETS),
    "compression": ("none", "gzip", "lz4", "snappy", "zstd"),
    "tls": ("false", "true"),
    "sasl": ("", *_PASSWORDS, "OAUTHBEARER", "MSK-IAM"),
}


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings. `shown` is the URL without credentials; printing the settings shows none either."""

    shown: str
    product: str
    servers: str
    client: str
    client_id: str
    zone: str
    timeout: float  # seconds
    linger_ms: int
    batch_bytes: int
    compression: str
    max_record_bytes: int
    fetch_bytes: int
    partition_fetch_bytes: int
    metadata_age_ms: int
    idle_ms: int
    tls: bool
    ca: str
    certificate: str
    key: str
    sasl: str
    oidc: str
    scope: str
    region: str
    username: str
    password: str
    token: str

    @property
    def protocol(self) -> str:
        """Return the name of the security protocol, such as SASL_SSL."""
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")

    @property
    def mechanism(self) -> str:
        """Return what the protocol calls `sasl`."""
        return "OAUTHBEARER" if self.sasl == "MSK-IAM" else self.sasl

    def __repr__(self) -> str:
        return f"KafkaSettings({self.shown})"


def parse(url: str, secrets: dict[str, str]) -> KafkaSettings:
    """Return the settings of `url`. Raises ValueError if something in it is not understood or does not fit."""
    parts = urlsplit(url)
    shown = hide_credentials(url)
    profile, options = _options(url, parts.scheme)
    for name, choices in _CHOICES.items():
        check_choice(options, name, choices)
    check_tls_files(options, shown)
    userinfo, _, servers = parts.netloc.rpartition("@")
    if not servers:
        raise ValueError(f"{shown}: name a broker, as in {parts.scheme}://localhost:{profile.port}")
    user, _, password = userinfo.partition(":")
    by_name = options["sasl"] in _PASSWORDS or (options["sasl"] == "OAUTHBEARER" and options["oidc"])
    if not by_name and (userinfo or secrets.get("username") or secrets.get("password")):
        raise ValueError(f"{shown}: a user name needs sasl={', '.join(_PASSWORDS)} or OAUTHBEARER with oidc")
    zone = options["zone"]
    settings = KafkaSettings(
        shown=shown,
        product=profile.product,
        servers=",".join(
            server if re.search(r":\d+$", server) else f"{server}:{profile.port}" for server in servers.split(",")
        ),
        client=options["client"],
        client_id=f"footfall,{profile.zone_key}={zone}" if profile.zone_key and zone else "footfall",
        zone=zone,
        timeout=whole_number(options, "timeout_ms", least=100) / 1000,
        linger_ms=whole_number(options, "linger_ms", least=0),
        batch_bytes=whole_number(options, "batch_bytes"),
        compression=options["compression"],
        max_record_bytes=whole_number(options, "max_record_bytes"),
        fetch_bytes=whole_number(options, "fetch_bytes"),
        partition_fetch_bytes=whole_number(options, "partition_fetch_bytes"),
        metadata_age_ms=whole_number(options, "metadata_age_ms"),
        idle_ms=whole_number(options, "idle_ms"),
        tls=options["tls"] == "true",
        ca=options["ca"],
        certificate=options["certificate"],
        key=options["key"],
        sasl=options["sasl"],
        oidc=options["oidc"],
        scope=options["scope"],
        region=options["region"] or _region(servers),
        username=secrets.get("username") or unquote(user) or profile.username,
        password=secrets.get("password") or unquote(password),
        token=secrets.get("token", ""),
    )  # fmt: skip
    _check_credentials(settings)
    return settings


def _options(url: str, scheme: str) -> tuple[Profile, dict[str, str]]:
    """Return the profile that applies and the options: the URL's override the profile's, those the defaults."""
    profile = SCHEMES[scheme]
    preset = read_options(url, _DEFAULTS)["preset"]
    if preset in PRESETS:
        if profile.options:
            raise ValueError(f"{hide_credentials(url)}: a preset is of kafka://, not of {scheme}://")
        profile = PRESETS[preset]
    return profile, read_options(url, _DEFAULTS | profile.options)


def _check_credentials(settings: KafkaSettings) -> None:
    sasl, shown = settings.sasl, settings.shown
    named = settings.username and settings.password
    if sasl in _PASSWORDS and not named:
        raise ValueError(f"{shown}: sasl={sasl} needs a user name and a password among the secrets")
    if sasl == "OAUTHBEARER" and not (named if settings.oidc else settings.token):
        raise ValueError(
            f"{shown}: sasl=OAUTHBEARER needs a token among the secrets, or oidc=URL of a token endpoint with the"
            " client's id as user name and its secret as password"
        )
    if sasl == "MSK-IAM" and not settings.region:
        raise ValueError(f"{shown}: sasl=MSK-IAM needs region=, as in region=eu-west-1")
    if (settings.ca or settings.certificate) and not settings.tls:
        raise ValueError(f"{shown}: ca=, certificate= and key= need tls=true")
    hosts = [server.rpartition(":")[0] for server in settings.servers.split(",")]
    if sasl in ("PLAIN", "OAUTHBEARER", "MSK-IAM") and not settings.tls and not on_loopback(hosts):
        raise ValueError(f"{shown}: sasl={sasl} would send the secret in the clear: add tls=true")


def _region(servers: str) -> str:
    """Return the region in a host such as b-1.name.abc.c2.kafka.eu-west-1.amazonaws.com, "" if there is none."""
    found = re.search(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com", servers)
    return found[1] if found else ""
