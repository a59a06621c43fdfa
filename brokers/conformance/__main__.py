"""`python -m brokers.conformance URL [SECONDS]`: run every sentence against the broker at URL; exit 1 if one fails.

The run waits up to SECONDS for the broker to answer."""

from __future__ import annotations

import re
import sys
import time

from brokers.base import Broker, Unreachable
from brokers.conformance import SENTENCES, Subject


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: python -m brokers.conformance URL [SECONDS]\n")
        return 2
    deadline = time.monotonic() + float(arguments[1] if len(arguments) > 1 else 0)
    subject = Subject(arguments[0], unreachable=_nobody(arguments[0]))
    broken = 0
    try:
        sys.stdout.write(f"{subject.broker.url}: {_ping(subject.broker, deadline)}\n")
        for sentence in SENTENCES:
            start = time.monotonic()
            try:
                sentence(subject)
                outcome = "ok"
            except Exception as error:  # a library's own error fails the sentence too
                broken += 1
                outcome = f"FAILED {type(error).__name__}: {error}"
            sys.stdout.write(f"{time.monotonic() - start:6.2f} s  {sentence}: {outcome}\n")
    finally:
        subject.close()
    sys.stdout.write(f"{len(SENTENCES) - broken} of {len(SENTENCES)} hold\n")
    return 1 if broken else 0


def _nobody(url: str) -> str | None:
    """Return a URL of the same kind at which nothing answers: another port, or a file where a folder is needed."""
    if ":///" not in url:
        elsewhere = re.sub(r"//[^/?&]+", "//127.0.0.1:1", url)  # and the address of an admin service among the options
        return elsewhere if elsewhere != url else None
    path, mark, options = url.partition("?")
    return f"{path}/nobody{mark}{options}"


def _ping(broker: Broker, deadline: float) -> str:
    while True:
        try:
            return broker.ping()
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
