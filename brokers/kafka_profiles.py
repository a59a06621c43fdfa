"""What makers and hosts of Kafka brokers recommend to their clients: each value with its reason and its document.

A profile is chosen by the scheme (`redpanda://`, `warpstream://`) or by `?preset=` and lies over the adapter's
defaults; an option in the URL lies over the profile. Only what differs from the defaults stands here. None of these
values weakens the contract: acks=all and the idempotent producer stay on everywhere, because order per key and
nothing twice in a row are what the suite promises.
"""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    value: str
    reason: str
    document: str


class Profile(NamedTuple):
    """`options` by the name that they have in a URL. `zone_key` puts the zone into the client id as well."""

    product: str
    options: dict[str, Advice]
    port: int = 9092
    username: str = ""
    zone_key: str = ""


_PRODUCERS = "Redpanda documentation: Develop, Produce data, Configure producers"
_TUNING = "WarpStream documentation: Configure Kafka client, Tuning for performance"
_HUBS = "Azure Event Hubs documentation: Recommended configurations for Apache Kafka clients"
_HUBS_KAFKA = "Azure Event Hubs documentation: What is Azure Event Hubs for Apache Kafka"
_MSK_IAM = "Amazon MSK developer guide: Configure clients to use IAM access control"
_CONFLUENT = "Confluent Cloud documentation: Configure clients; Resource limits"

SCHEMES: dict[str, Profile] = {
    "kafka": Profile("Kafka", {}),
    "redpanda": Profile(
        "Redpanda",
        {
            "linger_ms": Advice(
                "5",
                "with acks=all every batch is flushed to disk before it is acknowledged, so few larger ones cost less",
                _PRODUCERS,
            ),
        },
    ),
    "warpstream": Profile(
        "WarpStream",
        {
            "linger_ms": Advice(
                "25",
                "an ack waits for an object to be written, about 400 ms at the 99th percentile: throughput comes from"
                " full batches, and 25 ms more are not felt",
                _TUNING,
            ),
            "metadata_age_ms": Advice(
                "60000", "agents come and go, and are found by metadata: ask every minute, not every five", _TUNING
            ),
            "fetch_bytes": Advice(
                "104857600", "agents count a fetch in uncompressed bytes, so the usual limit is soon met", _TUNING
            ),
            "partition_fetch_bytes": Advice("52428800", "the same limit, for one partition", _TUNING),
            "timeout_ms": Advice("30000", "one slow write to the object store must not fail a publish", _TUNING),
        },
        zone_key="ws_az",
    ),
}

PRESETS: dict[str, Profile] = {
    "msk-iam": Profile(
        "Amazon MSK with IAM",
        {
            "tls": Advice("true", "IAM is offered on TLS alone: port 9098, or 9198 from outside", _MSK_IAM),
            "sasl": Advice("MSK-IAM", "a token signed with the AWS credentials of the process", _MSK_IAM),
        },
        port=9098,
    ),
    "confluent-cloud": Profile(
        "Confluent Cloud",
        {
            "tls": Advice("true", "the only listener; its certificates are of a public authority", _CONFLUENT),
            "sasl": Advice("PLAIN", "the user name is an API key, the password its secret", _CONFLUENT),
            "timeout_ms": Advice("30000", "brokers are replaced under a running cluster", _CONFLUENT),
        },
    ),
    "event-hubs": Profile(
        "Azure Event Hubs",
        {
            "tls": Advice("true", "the only listener, port 9093", _HUBS_KAFKA),
            "sasl": Advice("PLAIN", "the password is a connection string of the namespace", _HUBS_KAFKA),
            "metadata_age_ms": Advice("180000", "below the 240 s after which Azure drops idle connections", _HUBS),
            "idle_ms": Advice("180000", "Azure drops connections that are idle for 240 s without saying so", _HUBS),
            "timeout_ms": Advice("60000", "the service itself waits 20 s; at least 60 s are advised", _HUBS),
            "batch_bytes": Advice("900000", "requests above 1046528 bytes close the connection", _HUBS),
            "compression": Advice("none", "gzip is the only compression taken, and not in every tier", _HUBS_KAFKA),
        },
        port=9093,
        username="$ConnectionString",
    ),
}  # fmt: skip
