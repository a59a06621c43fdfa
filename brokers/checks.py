"""Checks that every adapter makes of its URL, of topics and of positions, and the errors they end in.

A URL's option that is not understood is an error with the nearest name, because a misspelt `acks` or `security` that
is silently ignored costs records or secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from brokers.base import BrokerError, NoSuchTopic, Position, TopicPartition, WrongIncarnation

_GO_ON = "If it is the right one, `footfall topics reset-positions` shows what is lost and goes on with what is there"
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def read_options(url: str, defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the options after the `?` of `url`, completed by `defaults`, which names all there are.

    Raises ValueError for an option without a default."""
    found = dict(defaults)
    for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in defaults:
            near = get_close_matches(name, defaults, n=1)
            raise ValueError(
                f"{hide_credentials(url)}: unknown option {name!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
                + f" Known: {', '.join(sorted(defaults)) or 'none'}"
            )
        found[name] = value
    return found


def whole_number(options: Mapping[str, str], name: str, least: int = 1) -> int:
    """Return option `name` as a number. Raises ValueError if it is none or less than `least`."""
    text = options[name]
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"option {name}={text!r} has to be a whole number of at least {least}")
    return int(text)


def check_choice(options: Mapping[str, str], name: str, choices: Iterable[str]) -> None:
    """Raise ValueError if option `name` is not one of `choices`."""
    if options[name] not in choices:
        raise ValueError(f"option {name}={options[name]!r}: choose {' or '.join(filter(None, choices))}")


def check_tls_files(options: Mapping[str, str], shown: str) -> None:
    """Raise ValueError if a file in the options `ca`, `certificate` and `key` is missing, or one lacks its other half.

    `shown` is the URL without credentials, for the message."""
    for name in ("ca", "certificate", "key"):
        if options[name] and not Path(options[name]).is_file():
            raise ValueError(f"option {name}={options[name]!r}: there is no such file")
    if bool(options["certificate"]) != bool(options["key"]):
        raise ValueError(f"{shown}: a client's certificate= needs its key=, and the other way round")


def hide_credentials(url: str) -> str:
    """Return `url` as it may be printed: without user, password and anything that looks like a secret."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    query = re.sub(r"((?:^|&)[^=&]*(?:password|secret|token)[^=&]*=)[^&]*", r"\1***", parts.query, flags=re.IGNORECASE)
    return f"{parts.scheme}://{netloc}{parts.path}" + (f"?{query}" if query else "")


def on_loopback(hosts: Iterable[str]) -> bool:
    """Return whether bytes sent to all of these hosts stay on this machine."""
    return all(host in ("localhost", "127.0.0.1", "::1", "[::1]") for host in hosts)


def check_topic(name: str, partitions: int, retention_ms: int, replication: int) -> None:
    """Raise ValueError for a topic that some broker could not hold.

    Kafka's rule for names is the strictest, so it applies on every broker: a topic can then move to any other."""
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"topic name {name!r}: use 1-249 letters, digits, '.', '_' or '-'")
    if not 1 <= partitions <= 10_000:
        raise ValueError(f"topic {name}: {partitions} partitions; choose 1 to 10000")
    if retention_ms < -1 or retention_ms == 0:
        raise ValueError(f"topic {name}: retention of {retention_ms} ms; give milliseconds, or -1 to keep for ever")
    if replication < 1:
        raise ValueError(f"topic {name}: replication of {replication}; give at least 1")


def other_count(name: str, held: int, wanted: int) -> ValueError:
    """Return the error for a topic that exists with another partition count."""
    return ValueError(
        f"topic {name} has {held} partitions, not {wanted}: the number is fixed for its life, choose that number or"
        " another name"
    )


def no_topic(name: str, shown: str) -> NoSuchTopic:
    """Return the error for a topic that the broker at `shown`, a URL without credentials, does not have."""
    return NoSuchTopic(f"topic {name} does not exist on {shown}: create it first")


def check_partition(partition: TopicPartition, count: int) -> None:
    """Raise ValueError if a topic of `count` partitions has none of that number."""
    if not 0 <= partition.number < count:
        raise ValueError(f"topic {partition.topic} has partitions 0 to {count - 1}, not {partition.number}")


def closed(shown: str) -> BrokerError:
    """Return the error for a call after `close`."""
    return BrokerError(f"{shown} is closed: connect again")


def check_incarnation(partition: TopicPartition, position: Position, incarnation: str) -> None:
    """Raise `WrongIncarnation` if the position is of another incarnation of the topic."""
    if position.incarnation != incarnation:
        raise WrongIncarnation(
            f"{partition}: position {position} belongs to another incarnation than {incarnation}: the topic"
            " was made again, or this is another broker. `footfall broker move FROM TO` takes the records and the"
            f" checkpoint from one broker to another. {_GO_ON}"
        )


def beyond_end(partition: TopicPartition, position: Position) -> WrongIncarnation:
    """Return the error for a position after the last record."""
    return WrongIncarnation(
        f"{partition}: position {position} lies beyond the end: the checkpoint belongs to another log, or the"
        f" log has lost its last records, as by an unclean election, or was restored from an older copy. {_GO_ON}"
    )
