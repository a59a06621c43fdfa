"""Kafka Connect's standalone worker, from Maven, with the connector for files that comes with Kafka."""

from __future__ import annotations

from pathlib import Path

from tests.servers import kafka
from tests.servers.process import cache

_ARTIFACTS = {
    "org.apache.kafka:connect-runtime": kafka.VERSION,
    "org.apache.kafka:connect-json": kafka.VERSION,
    "org.apache.kafka:connect-file": kafka.VERSION,
    "org.slf4j:slf4j-simple": "1.7.36",
}
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_POM = (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    "<groupId>footfall</groupId><artifactId>connect</artifactId><version>1</version><dependencies>"
    + "".join(_DEPENDENCY.format(*name.split(":"), version) for name, version in _ARTIFACTS.items())
    + "</dependencies></project>"
)
# The worker's own settings. `hybrid_warn` finds the connectors on the class path, too.
_PROPERTIES = """bootstrap.servers={servers}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.file.filename={folder}/offsets
offset.flush.interval.ms=500
plugin.discovery=hybrid_warn
listeners=http://127.0.0.1:0
"""


def command(folder: Path, servers: str, connectors: list[Path]) -> list[str]:
    """What to start for a worker with its state in `folder`; its jars are downloaded on the first call.

    Raises NotStarted."""
    libs = kafka.fetched(cache() / f"kafka-connect-{kafka.VERSION}" / "libs", _POM)
    worker = folder / "worker.properties"
    worker.write_text(_PROPERTIES.format(servers=servers, folder=folder))
    main = "org.apache.kafka.connect.cli.ConnectStandalone"
    java = [str(kafka.java()), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{libs}/*"]
    return [*java, main, str(worker), *map(str, connectors)]
