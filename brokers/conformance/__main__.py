"""`python -m brokers.conformance URL`: every sentence against the broker at the URL; 1 when one does not hold."""

from __future__ import annotations

import sys
import time

from brokers.base import BrokerError
from brokers.conformance import SENTENCES, Subject


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m brokers.conformance URL\n")
        return 2
    subject = Subject(arguments[0])
    broken = 0
    try:
        sys.stdout.write(f"{subject.broker.url}: {subject.broker.ping()}\n")
        for sentence in SENTENCES:
            start = time.monotonic()
            try:
                sentence(subject)
                outcome = "ok"
            except (AssertionError, BrokerError) as error:
                broken += 1
                outcome = f"FAILED {type(error).__name__}: {error}"
            sys.stdout.write(f"{time.monotonic() - start:6.2f} s  {sentence}: {outcome}\n")
    finally:
        subject.close()
    sys.stdout.write(f"{len(SENTENCES) - broken} of {len(SENTENCES)} hold\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
