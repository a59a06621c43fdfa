"""`python -m brokers.conformance URL [SECONDS]`: every sentence against the broker at URL; 1 when one does not hold.

It is waited for so many SECONDS until it answers."""

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
    patience = time.monotonic() + float(arguments[1] if len(arguments) > 1 else 0)
    subject = Subject(arguments[0], unreachable=_nobody(arguments[0]))
    broken = 0
    try:
        sys.stdout.write(f"{subject.broker.url}: {_ping(subject.broker, patience)}\n")
        for sentence in SENTENCES:
            start = time.monotonic()
            try:
                sentence(subject)
                outcome = "ok"
            except Exception as error:  # a client that does not fail in our words fails the sentence too
                broken += 1
                outcome = f"FAILED {type(error).__name__}: {error}"
            sys.stdout.write(f"{time.monotonic() - start:6.2f} s  {sentence}: {outcome}\n")
    finally:
        subject.close()
    sys.stdout.write(f"{len(SENTENCES) - broken} of {len(SENTENCES)} hold\n")
    return 1 if broken else 0


def _nobody(url: str) -> str | None:
    """A URL of the same kind where nobody answers: another port, or a file that is taken for a folder."""
    if ":///" not in url:
        elsewhere = re.sub(r"//[^/?&]+", "//127.0.0.1:1", url)  # an admin's address among the options too
        return elsewhere if elsewhere != url else None
    path, mark, options = url.partition("?")
    return f"{path}/nobody{mark}{options}"


def _ping(broker: Broker, patience: float) -> str:
    while True:
        try:
            return broker.ping()
        except Unreachable:
            if time.monotonic() > patience:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
