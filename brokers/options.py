"""What stands behind the `?` of a broker's URL: read once, checked, and never guessed at.

An option that is not understood is an error with the nearest name, because a misspelt `acks` or `security`
that is silently ignored costs records or secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from urllib.parse import parse_qsl, urlsplit

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def read_options(url: str, known: Mapping[str, str]) -> dict[str, str]:
    """The options of `url`, laid over the defaults `known`."""
    found = dict(known)
    for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ValueError(
                f"{hide_credentials(url)}: unknown option {name!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
                + f" Known: {', '.join(sorted(known)) or 'none'}"
            )
        found[name] = value
    return found


def whole_number(options: Mapping[str, str], name: str, least: int = 1) -> int:
    """Option `name` as a number of at least `least`."""
    text = options[name]
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"option {name}={text!r} has to be a whole number of at least {least}")
    return int(text)


def hide_credentials(url: str) -> str:
    """`url` as it may be printed: without user, password and anything that looks like a secret."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    query = re.sub(r"((?:^|&)[^=&]*(?:password|secret|token)[^=&]*=)[^&]*", r"\1***", parts.query, flags=re.IGNORECASE)
    return f"{parts.scheme}://{netloc}{parts.path}" + (f"?{query}" if query else "")


def on_loopback(hosts: Iterable[str]) -> bool:
    """Whether what is sent to them stays on this machine."""
    return all(host in ("localhost", "127.0.0.1", "::1", "[::1]") for host in hosts)


def check_topic(name: str, partitions: int, retention_ms: int, replication: int) -> None:
    """What every broker can hold; Kafka's rule for names is the strictest, so it is everybody's."""
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"topic name {name!r}: use 1-249 letters, digits, '.', '_' or '-'")
    if not 1 <= partitions <= 10_000:
        raise ValueError(f"topic {name}: {partitions} partitions; choose 1 to 10000")
    if retention_ms < -1 or retention_ms == 0:
        raise ValueError(f"topic {name}: retention of {retention_ms} ms; give milliseconds, or -1 to keep for ever")
    if replication < 1:
        raise ValueError(f"topic {name}: replication of {replication}; give at least 1")


def other_count(name: str, held: int, wanted: int) -> ValueError:
    """The error for a topic that exists with another partition count."""
    return ValueError(
        f"topic {name} has {held} partitions, not {wanted}: the number is fixed for its life, choose that number or"
        " another name"
    )


def no_partition(topic: str, partition: int, count: int) -> ValueError:
    """The error for a partition number that the topic does not have."""
    return ValueError(f"topic {topic} has partitions 0 to {count - 1}, not {partition}")
