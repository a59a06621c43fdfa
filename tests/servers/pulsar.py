"""Apache Pulsar standalone, from Maven: 245 MB fetched once, about 350 MB of memory, ready in about ten seconds.

The vendor's own configuration with only addresses and sizes changed, so that its defaults (nothing is retained,
inactive topics are deleted) are what an adapter meets. The address names the admin service too, unless that is on
the vendor's port: `127.0.0.1:40001?admin=http://127.0.0.1:40002`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tarfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.servers.kafka import java
from tests.servers.process import HOST, NotStarted, Server, cache, free_port

VERSION = "4.0.8"
PORT = 6650
ADMIN_PORT = 8080

_ARTIFACT = f"org.apache.pulsar:pulsar-server-distribution:{VERSION}:tar.gz:bin"

# Everything on the loopback interface; without the last three the bookie would open a port to the world.
_SETTINGS = {
    "bindAddress": HOST,
    "advertisedAddress": HOST,
    "allowLoopback": "true",
    "allowEphemeralPorts": "true",
    "listeningInterface": "lo0" if any(name == "lo0" for _, name in socket.if_nameindex()) else "lo",
}

# As the vendor's start script has them; half a CPU and a third of a GB are enough for one developer.
_JAVA = [
    "-Xmx256m",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.net.preferIPv4Stack=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dorg.apache.pulsar.shade.io.netty.tryReflectionSetAccessible=true",
    "-Dpulsar.allocator.pooled=true",
    "-Dpulsar.log.appender=Console",
    "-Dpulsar.log.root.level=warn",
    "-Dpulsar.log.level=warn",
    "-Dlog4j2.is.webapp=false",
]
_OPENED = ("java.io", "java.util.zip", "java.nio", "jdk.internal.misc", "jdk.internal.platform")


class PulsarServer(Server):
    """A `Server` whose address names its admin service."""

    def __init__(self, folder: Path) -> None:
        super().__init__("pulsar", folder)
        self._admin = folder / "admin"

    def address(self) -> str | None:
        found = super().address()
        return found and found + self._admin.read_text()

    def admin_port(self) -> int:
        """The one it had, 0 before the first start."""
        if not self._admin.exists():
            return 0
        return int(self._admin.read_text().rpartition(":")[2] or ADMIN_PORT)

    def choose_admin(self, port: int) -> None:
        self._admin.write_text("" if port == ADMIN_PORT else f"?admin=http://{HOST}:{port}")


def available() -> str:
    """Empty when Pulsar can be started here, else what to install."""
    try:
        java()
        _maven()
    except NotStarted as missing:
        return str(missing).replace("Kafka", "Pulsar")
    return ""


def _home() -> Path:
    return cache() / f"pulsar-{VERSION}"


def _maven() -> str:
    found = shutil.which("mvn")
    if found is None and not _home().is_dir():
        raise NotStarted("Pulsar comes from Maven: apt-get install maven (or brew install maven)")
    return found or ""


def fetch() -> Path:
    """The unpacked distribution, downloaded on the first call."""
    home = _home()
    with Server("pulsar download", home.with_name("pulsar-download")).locked():
        if home.is_dir():
            return home
        partial = home.with_name("pulsar-partial")
        shutil.rmtree(partial, ignore_errors=True)
        env = dict(os.environ)
        if not shutil.which("java"):
            env["JAVA_HOME"] = str(java().parents[1])
        command = [_maven(), "-q", "-B", "dependency:copy", f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={partial}"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=1200)
        if done.returncode:
            raise NotStarted(f"Maven could not fetch Pulsar {VERSION}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        for archive in partial.glob("*.tar.gz"):
            with tarfile.open(archive) as packed:
                packed.extractall(partial, filter="data")
            archive.unlink()
        (partial / f"apache-pulsar-{VERSION}").rename(home)
        partial.rmdir()
    return home


def server(folder: Path | None = None) -> PulsarServer:
    return PulsarServer(folder or cache() / "pulsar")


def start(folder: Path | None = None, port: int = PORT, settings: Mapping[str, str] | None = None) -> str:
    """Start it unless it runs; its address either way. Port 0 is any free one; a folder keeps its admin port.

    `settings` are lines of `standalone.conf`, such as those that ask for tokens."""
    pulsar = server(folder)
    fetch()
    with pulsar.locked():
        if running := pulsar.address():
            return running
        port = free_port(port)
        admin = free_port(pulsar.admin_port() or (ADMIN_PORT if port == PORT else 0))
        configure(pulsar, port, admin, settings or {})
        token = (settings or {}).get("brokerClientAuthenticationParameters", "").removeprefix("token:")
        return launch(pulsar, port, admin, token)


def configure(pulsar: PulsarServer, port: int, admin: int, settings: Mapping[str, str]) -> None:
    """Write the vendor's `standalone.conf` with these ports and `settings` in it."""
    lines = (_home() / "conf" / "standalone.conf").read_text().splitlines()
    changed = {**_SETTINGS, "brokerServicePort": str(port), "webServicePort": str(admin), **settings}
    kept = [line for line in lines if line.partition("=")[0] not in changed]
    (pulsar.folder / "standalone.conf").write_text(
        "\n".join([*kept, *(f"{name}={value}" for name, value in changed.items()), ""])
    )
    pulsar.choose_admin(admin)


def launch(pulsar: PulsarServer, port: int, admin: int, token: str = "") -> str:
    """Start it on its configuration and what an earlier run left in the folder; returns its address."""
    home, folder = _home(), pulsar.folder
    opens = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
    opens += ["--add-opens=java.management/sun.management=ALL-UNNAMED"]
    opens += ["--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED"]
    command = [str(java()), *_JAVA, *opens, f"-Dlog4j.configurationFile={home}/conf/log4j2.yaml"]
    command += [f"-Dpulsar.config.file={folder}/standalone.conf", "-cp", f"{home}/conf:{home}/lib/*"]
    command += ["org.apache.pulsar.PulsarStandaloneStarter", "--config", f"{folder}/standalone.conf"]
    command += ["--metadata-dir", f"{folder}/metadata", "--bookkeeper-dir", f"{folder}/bookkeeper"]
    command += ["--bookkeeper-port", "0", "--no-functions-worker", "--no-stream-storage"]

    def answer(path: str, seconds: float) -> bytes:
        asked = urllib.request.Request(f"http://{HOST}:{admin}/admin/v2{path}")
        if token:
            asked.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(asked, timeout=seconds) as found:
                return bytes(found.read())
        except OSError:
            return b""

    def ready() -> bool:  # an open port is too early: the default namespace comes last, then a record has to go through
        return b"public/default" in answer("/namespaces/public", 20.0) and answer("/brokers/health", 20.0) == b"ok"

    pulsar.spawn(command, port, ready)
    return pulsar.address() or ""


def url(address: str, namespace: str = "public/default") -> str:
    """The broker URL of a namespace at an address that `start` returned."""
    service, _, admin = address.partition("?")
    return f"pulsar://{service}/{namespace}" + (f"?{admin}" if admin else "")
