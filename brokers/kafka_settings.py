"""What a Kafka URL says: `kafka://host:9092,other:9092?client=kafka-python&tls=true&sasl=SCRAM-SHA-512`.

User name, password and token come as secrets (or, for a trial, the first two in the URL) and are never printed.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from brokers.kafka_profiles import PRESETS, SCHEMES, Profile
from brokers.options import hide_credentials, on_loopback, read_options, whole_number

_DEFAULTS = {
    "acks": "all",  # named because everybody looks for it; nothing less is durable
    "client": "confluent",
    "preset": "",
    "timeout_ms": "10000",  # bound of a publish and of every question
    "linger_ms": "1",  # how long the client waits for company in a batch
    "batch_bytes": "1000000",  # the most that one batch of a partition holds
    "compression": "lz4",
    "max_record_bytes": "1000000",
    "fetch_bytes": "52428800",  # the most that one answer to a reader holds
    "partition_fetch_bytes": "1048576",
    "metadata_age_ms": "300000",  # how long what is known of topics and brokers is believed
    "idle_ms": "540000",  # after so long an unused connection is closed
    "zone": "",  # where this process runs: readers are served by the nearest replica
    "tls": "false",
    "ca": "",
    "certificate": "",
    "key": "",
    "sasl": "",
    "oidc": "",  # with OAUTHBEARER: where a token is to be had for user name and password
    "scope": "",
    "region": "",  # with MSK-IAM, where the host's name does not tell it
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
    """Checked and typed. `shown` is the URL without credentials; printing the settings shows none either."""

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
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")

    @property
    def mechanism(self) -> str:
        """What the protocol calls `sasl`."""
        return "OAUTHBEARER" if self.sasl == "MSK-IAM" else self.sasl

    def __repr__(self) -> str:
        return f"KafkaSettings({self.shown})"


def parse(url: str, secrets: dict[str, str]) -> KafkaSettings:
    """Raises ValueError with every word that is not understood."""
    parts = urlsplit(url)
    shown = hide_credentials(url)
    profile, options = _options(url, parts.scheme)
    for name, choices in _CHOICES.items():
        if options[name] not in choices:
            raise ValueError(f"option {name}={options[name]!r}: choose {' or '.join(filter(None, choices))}")
    for name in ("ca", "certificate", "key"):
        if options[name] and not Path(options[name]).is_file():
            raise ValueError(f"option {name}={options[name]!r}: there is no such file")
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
    """The profile that applies, and the options: the URL's over the profile's over the defaults."""
    profile = SCHEMES[scheme]
    preset = read_options(url, _DEFAULTS)["preset"]
    if preset in PRESETS:
        if profile.options:
            raise ValueError(f"{hide_credentials(url)}: a preset is of kafka://, not of {scheme}://")
        profile = PRESETS[preset]
    advised = {name: advice.value for name, advice in profile.options.items()}
    return profile, read_options(url, _DEFAULTS | advised)


def _check_credentials(settings: KafkaSettings) -> None:
    sasl, shown = settings.sasl, settings.shown
    known = settings.username and settings.password
    if sasl in _PASSWORDS and not known:
        raise ValueError(f"{shown}: sasl={sasl} needs a user name and a password among the secrets")
    if sasl == "OAUTHBEARER" and not (known if settings.oidc else settings.token):
        raise ValueError(
            f"{shown}: sasl=OAUTHBEARER needs a token among the secrets, or oidc=URL of a token endpoint with the"
            " client's id as user name and its secret as password"
        )
    if sasl == "MSK-IAM" and not settings.region:
        raise ValueError(f"{shown}: sasl=MSK-IAM needs region=, as in region=eu-west-1")
    if bool(settings.certificate) != bool(settings.key):
        raise ValueError(f"{shown}: certificate= and key= are given together")
    if (settings.ca or settings.certificate) and not settings.tls:
        raise ValueError(f"{shown}: ca=, certificate= and key= need tls=true")
    hosts = [server.rpartition(":")[0] for server in settings.servers.split(",")]
    if sasl in ("PLAIN", "OAUTHBEARER", "MSK-IAM") and not settings.tls and not on_loopback(hosts):
        raise ValueError(f"{shown}: sasl={sasl} would send the secret in the clear: add tls=true")


def _region(servers: str) -> str:
    """Out of a host such as b-1.name.abc.c2.kafka.eu-west-1.amazonaws.com; "" where it does not say."""
    found = re.search(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com", servers)
    return found[1] if found else ""
