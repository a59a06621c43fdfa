"""Three Apache Kafka brokers, a real replicated cluster: three copies of everything, two of them before an ack.

About 600 MB of memory. Each node is broker and controller, so one may be lost; without two nothing is acknowledged.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.servers import kafka
from tests.servers.process import Group, Server, cache, free_port, locked

NODES = (1, 2, 3)
PORT = 19092  # and the next two

# A lost node is noticed in 4 s instead of 9.
_QUICKER = "broker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n"

available = kafka.available


def server(folder: Path | None = None) -> Group:
    folder = folder or cache() / "kafka3"
    nodes = [Server(f"kafka3 node {number}", folder / f"node{number}") for number in NODES]
    return Group(folder, nodes, nodes)


def start(folder: Path | None = None, port: int = PORT) -> str:
    """Start the nodes that do not run; `host:port,host:port,host:port` either way. Port 0 is any free ones."""
    cluster = server(folder)
    kafka.fetch()
    with locked(cluster.folder):
        if not cluster.pids():
            _configure(cluster, port)
        with ThreadPoolExecutor() as pool:  # the first two are not ready before they have found each other
            return ",".join(pool.map(partial(_launch, cluster), NODES))


def start_node(folder: Path, number: int) -> str:
    """Start node 1, 2 or 3 again where it listened before; its address."""
    return _launch(server(folder), number)


def _configure(cluster: Group, port: int) -> None:
    ports: list[int] = []
    while len(ports) < 2 * len(NODES):
        wanted = port + len(ports) if port and len(ports) < len(NODES) else 0
        if (found := free_port(wanted)) not in ports:
            ports.append(found)
    for node, number in zip(cluster.servers, NODES, strict=True):
        kafka.configure(node, number, ports[number - 1], ports[len(NODES) :])
        with (node.folder / "server.properties").open("a") as properties:
            properties.write(_QUICKER)
        (node.folder / "port").write_text(str(ports[number - 1]))


def _launch(cluster: Group, number: int) -> str:
    node = cluster.servers[number - 1]
    with node.locked():
        if running := node.address():
            return running
        port = int((node.folder / "port").read_text())
        return kafka.launch(node, port, cluster.folder)
