"""What a warehouse amounts to: taken when a backup is made, and again from what was restored.

Counting takes the longer the more there is. So a backup counts in the files that it froze, by an engine of its own in
another process (`counted`), while the warehouse goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from typing import IO, Any

import msgspec

from infra.errors import Failed
from pipeline import losses
from pipeline.replay.compare import digested
from stores import snapshot
from stores.warehouse import Warehouse

# The newest days are told by digest: so many, and no more once they have so many sessions.
_DAYS = 7
_SESSIONS = 250_000

_TELL_SECONDS = 0.5

Line = dict[str, Any]


class Counted(msgspec.Struct):
    """What a warehouse amounts to: `amounts`, and a line of `digests` for each site and recent day."""

    amounts: dict[str, int]
    days: list[Line]


def counted(url: str, told: Line) -> Generator[Line, None, Counted]:
    """Counts in a warehouse that nobody has open, in another process; yields `told` meanwhile.

    Raises `Failed` when that process cannot read it."""
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said, _child(url, answer, said) as process:
        while process.poll() is None:
            try:
                process.wait(_TELL_SECONDS)
            except subprocess.TimeoutExpired:
                yield told
        for file in (answer, said):
            file.seek(0)
        if process.returncode:
            last = said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise Failed(f"the copied warehouse cannot be counted ({last}): take the backup again")
        return msgspec.json.decode(answer.read(), type=Counted)


@contextmanager
def _child(url: str, answer: IO[bytes], said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "infra.backup.proof", url]
    # Its input is closed when this process ends, however it does.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=answer, stderr=said) as process:
        try:
            yield process
        finally:
            process.kill()


def _count(url: str) -> Counted:
    import stores

    with closing(stores.connect_warehouse(url)) as opened:
        return Counted(amounts(opened), digests(opened, recent_days(opened)))


def amounts(warehouse: Warehouse) -> dict[str, int]:
    """Counts and checksums of everything."""
    return snapshot.amounts(warehouse)


def recent_days(warehouse: Warehouse) -> list[int]:
    """The days (since the epoch) to be told by digest. The newest is always among them."""
    chosen: list[int] = []
    sessions = 0
    for day, count in reversed(snapshot.session_days(warehouse).items()):
        sessions += count
        if chosen and (len(chosen) == _DAYS or sessions > _SESSIONS):
            break
        chosen.append(day)
    return chosen[::-1]


def digests(warehouse: Warehouse, days: list[int]) -> list[Line]:
    """A line for each site and day, with the digest of the sessions that started then; see `rollup.session_digest`."""
    lines = []
    for day in days:
        found = digested(snapshot.sessions_of(warehouse, day))
        lines += [
            {"site": site, "day": str(losses.day(of)), **digest._asdict()}
            for (site, of), digest in sorted(found.items())
        ]
    return lines


def day_numbers(lines: Iterable[Line]) -> list[int]:
    """The days (since the epoch) that lines of `digests` are about, each once."""
    return sorted({(date.fromisoformat(line["day"]) - date(1970, 1, 1)).days for line in lines})


def _follow_owner() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_follow_owner, daemon=True).start()
    sys.stdout.buffer.write(msgspec.json.encode(_count(sys.argv[1])))
