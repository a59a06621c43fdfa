"""Three Kafka brokers of which one fails, then the leader, then two at once; and one after the other is restarted.

Two copies in sync are needed for an acknowledgement: with one broker gone everything goes on, with two gone a tracking
port spools, and where it cannot it says 503; it never says 2xx for what is not durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from brokers import connect
from tests.brokers.publishing import Publishing
from tests.e2e.beacons import TOPIC, under_load
from tests.e2e.harness import until
from tests.load import Load, read_kafka
from tests.patience import patient
from tests.require import require
from tests.servers import kafka3 as part
from tests.servers.process import Group

pytestmark = [pytest.mark.real, pytest.mark.slow]


class Cluster:
    """The three brokers, as an operator sees them."""

    def __init__(self, nodes: Group, servers: str) -> None:
        self.servers = servers
        self._nodes = nodes
        self._admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})

    def create(self, topic: str) -> None:
        self._admin.create_topics([NewTopic(topic, num_partitions=4, replication_factor=3)])[topic].result(30)

    def leader(self, topic: str) -> int:
        """The number of the node that leads the topic's first partition."""
        return int(self._admin.list_topics(topic, timeout=patient(30)).topics[topic].partitions[0].leader)

    def kill(self, number: int) -> None:
        self._nodes.servers[number - 1].kill()

    def stop(self, number: int) -> None:
        self._nodes.servers[number - 1].stop()

    def start(self, *numbers: int) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(part.start_node, self._nodes.folder), numbers))

    def await_in_sync(self, topic: str) -> None:
        """Until every partition has three copies again."""

        def whole() -> bool:
            partitions = self._admin.list_topics(topic, timeout=patient(30)).topics[topic].partitions.values()
            return bool(partitions) and all(len(each.isrs) == len(part.NODES) for each in partitions)

        until(whole, f"{topic} has three copies in sync")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers of this module's own, to be killed."""
    missing = part.available()
    require("kafka3", not missing, missing)
    folder = tmp_path_factory.mktemp("kafka3")
    try:
        servers = part.start(folder, port=0)
        yield Cluster(part.server(folder), servers)
    finally:
        part.server(folder).stop()


def test_one_is_lost_then_the_leader_then_two(tmp_path: Path, cluster: Cluster, say: Callable[[str], None]) -> None:
    cluster.create(TOPIC)
    url = f"kafka://{cluster.servers}"
    with (
        under_load(tmp_path / "spooling", url) as spooling,
        under_load(tmp_path / "refusing", url, spool=False) as refusing,
    ):
        services = (spooling, refusing)

        def all_go_on() -> None:
            for service in services:
                service.load.more(300)

        all_go_on()
        other = next(number for number in part.NODES if number != cluster.leader(TOPIC))
        cluster.kill(other)
        all_go_on()
        cluster.start(other)
        cluster.await_in_sync(TOPIC)

        leader = cluster.leader(TOPIC)
        cluster.kill(leader)
        all_go_on()
        cluster.start(leader)
        cluster.await_in_sync(TOPIC)

        first, second = part.NODES[:2]
        cluster.kill(first)
        cluster.kill(second)
        until(spooling.spools, "events go to the spool")
        spooling.load.more(300)
        refusing.load.refusals(20)
        acked = refusing.load.acked
        refusing.load.refusals(50)
        assert refusing.load.acked == acked
        cluster.start(first, second)
        until(lambda: not spooling.spools(), "the spool is drained")
        all_go_on()
    spooled, refused = (service.judge(cluster.servers) for service in services)
    assert spooled.refused == 0
    say(f"One of three Kafka brokers lost, the leader, then two, with a spool: {spooled}; without: {refused}")


def test_one_after_the_other_is_restarted(cluster: Cluster, say: Callable[[str], None]) -> None:
    with ExitStack() as stack:
        loads = {}
        for client in ("confluent", "kafka-python"):
            topic = f"rolling-{client}"
            cluster.create(topic)
            broker = connect(f"kafka://{cluster.servers}?client={client}")
            stack.callback(broker.close)
            publishing = Publishing(broker, topic)
            loads[client] = (topic, publishing, stack.enter_context(Load(publishing, batch=5)))
        for number in part.NODES:
            cluster.stop(number)
            cluster.start(number)
            for topic, _, load in loads.values():
                cluster.await_in_sync(topic)
                load.more(200)
    for client, (topic, publishing, load) in loads.items():
        figures = load.judge(read_kafka(cluster.servers, topic, publishing.decode))
        assert figures.refused == 0, publishing.reasons
        say(f"Three Kafka brokers restarted one after the other ({client}): {figures}")
