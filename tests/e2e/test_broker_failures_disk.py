"""A broker's disk is full: nothing is acknowledged, and all that was is there once there is room again.

The disk is a small file system in memory, mounted in a namespace of its own, so that no privilege is needed; something
else in it takes all the room there is, as it happens.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from brokers import connect
from tests.brokers.publishing import Publishing
from tests.e2e.harness import until
from tests.load import Load, read_kafka
from tests.require import require
from tests.servers import kafka as part
from tests.servers.process import free_port

pytestmark = [pytest.mark.real, pytest.mark.slow]

_MEGABYTES = 48


class Disk:
    """`path`, as a process with `prefix` before its command sees it."""

    def __init__(self, path: Path, keeper: int) -> None:
        self.prefix = ["nsenter", "-t", str(keeper), "-U", "-m", "--preserve-credentials"]
        self._other = Path(f"/proc/{keeper}/root{path}/other")

    def fill(self) -> None:
        """To the last byte."""
        with suppress(OSError), self._other.open("ab", buffering=0) as other:
            while True:
                other.write(bytes(4096))

    def make_room(self) -> None:
        self._other.unlink()


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    """A file system of its own, kept by a process that does nothing else."""
    path.mkdir(parents=True)
    script = f"mount -t tmpfs -o size={_MEGABYTES}m tmpfs '{path}' && echo mounted && exec cat"
    keeper = subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert keeper.stdout
        assert keeper.stderr
        ok = keeper.stdout.readline() == b"mounted\n"
        require("a full disk", ok, "" if ok else f"this system mounts nothing: {keeper.stderr.read().decode()}")
        yield Disk(path, keeper.pid)
    finally:
        keeper.communicate()  # the end of its input ends it


def test_its_disk_is_full(tmp_path: Path, say: Callable[[str], None]) -> None:
    missing = part.available()
    require("kafka", not missing, missing)
    part.fetch()
    server = part.server(tmp_path)
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "data"))
        stack.callback(server.stop)
        port = free_port()
        part.configure(server, 1, port, [free_port()])
        address = part.launch(server, port, prefix=disk.prefix)
        loads = {}
        for client in ("confluent", "kafka-python"):
            with closing(connect(f"kafka://{address}")) as patient:
                patient.create_topic(f"full-{client}", 4)
            broker = connect(f"kafka://{address}?client={client}&timeout_ms=5000")
            stack.callback(broker.close)
            publishing = Publishing(broker, f"full-{client}")
            loads[client] = (publishing, stack.enter_context(Load(publishing, batch=5)))
        for _, load in loads.values():
            load.more(500)
        disk.fill()
        for _, load in loads.values():
            load.refusals(12)
        until(lambda: not server.pids(), "Kafka has stopped itself, as it does when its only disk fails")
        acked = [load.acked for _, load in loads.values()]
        for _, load in loads.values():
            load.refusals(12)
        assert [load.acked for _, load in loads.values()] == acked
        disk.make_room()
        part.launch(server, port, prefix=disk.prefix)
        for _, load in loads.values():
            load.more(500)
            load.end()
        for client, (publishing, load) in loads.items():
            figures = load.judge(read_kafka(address, f"full-{client}", publishing.decode))
            say(f"Kafka's disk full and with room again ({client}): {figures}")
