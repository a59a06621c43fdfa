"""`python -m tests.servers.conformance kafka pulsar://h:6650 …`: the brokers' conformance suite, one after the other.

A part of this folder is named by its name: one that runs is used as it is, else it is started in a folder of its own
and stopped afterwards. Everything else is a URL. Exit status 1: a sentence does not hold somewhere.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brokers.conformance import __main__ as conformance
from tests.servers.__main__ import PARTS
from tests.servers.process import NotStarted

# How the address of a part becomes the URL of a broker. Where two clients speak to it, both are run.
PATTERNS = {
    "kafka": ("kafka://{}", "kafka://{}?client=kafka-python"),
    "kafka3": ("kafka://{}", "kafka://{}?client=kafka-python"),
    "pulsar": ("pulsar://{}",),
    "diskless": ("kafka://{}", "kafka://{}?client=kafka-python"),
}


@contextmanager
def urls(name: str) -> Iterator[list[str]]:
    """What to run for a part's name or a URL."""
    if name not in PATTERNS:
        yield [name]
        return
    part = PARTS[name]
    if running := part.server().address():
        yield [pattern.format(running) for pattern in PATTERNS[name]]
        return
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        here = Path(folder).resolve()
        try:
            address = part.start(here, 0)
            yield [pattern.format(address) for pattern in PATTERNS[name]]
        finally:
            part.server(here).stop()


def main(names: list[str]) -> int:
    known = f"{', '.join(PATTERNS)} or a URL"
    if not names or any(name not in PATTERNS and "://" not in name for name in names):
        sys.stderr.write(f"usage: ./dev conformance BROKER…, each one of {known}\n")
        return 2
    failed = 0
    for name in names:
        try:
            with urls(name) as found:
                failed |= max(conformance.main([url]) for url in found)
        except NotStarted as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
