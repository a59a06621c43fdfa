"""The servers that benches load: `python -m bench.ingest_server KIND PORT WORKERS [URL FOLDER]`.

`uvicorn` and `gunicorn` answer 204 to any request, on a plain `UvicornWorker` and on gunicorn's own `asgi` worker.
`ours`, `unlimited` and `limited` are the tracking service as the product serves it. `limited` has the default limits;
the others have limits that no bench reaches, so that the cost of counting is included. Floods come from many addresses,
so `unlimited` and `limited` trust `X-Forwarded-For`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

import brokers
import stores
from infra import startup
from infra.processes.tracking import share_counts
from ingest import asgi, server
from ingest.collect import Options
from ingest.counters import Counters
from ingest.http import Receive, Send
from ingest.limiter import Limits
from ingest.service import Service
from ingest.sites import Site, Sites
from ingest.spool import FolderSpool

BARE = {"uvicorn": "uvicorn_worker.UvicornWorker", "gunicorn": "asgi"}


async def bare(scope: asgi.Scope, receive: Receive, send: Send) -> None:
    """Read the body and answer 204: the least that a server can do with an event."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Bare(BaseApplication):
    """gunicorn with the application `bare` only."""

    def __init__(self, **settings: object) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Apply the settings."""
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the ASGI application."""
        return bare


def main() -> None:
    """Serve until a signal."""
    kind, port, workers, *rest = sys.argv[1:]
    bind = f"127.0.0.1:{port}"
    if kind in BARE:
        Bare(
            bind=bind,
            workers=int(workers),
            worker_class=BARE[kind],
            keepalive=75,
            loglevel="warning",
            control_socket_disable=True,
        ).run()
        return
    url, folder = rest
    beyond = "1000000000/minute"
    limits = Limits(address=beyond, network=beyond, site=beyond) if kind != "limited" else True
    counted = share_counts()

    def open_service() -> Service:
        startup.collect_rarely()
        return Service(
            broker=brokers.connect(url),
            live=stores.connect_live(f"file://{folder}/live"),
            sites=Sites(sites={"bench.example": Site(domain="bench.example", limits=limits, ids=("bench-key",))}),
            spool=FolderSpool(Path(folder) / "spool"),
            options=Options(trusted_proxies=("127.0.0.1",) if kind in ("unlimited", "limited") else ()),
            counters=Counters(counted),
        )

    server.serve(
        lambda: asgi.Application(open_service), bind, workers=int(workers), on_exit=lambda: shutil.rmtree(counted)
    )


if __name__ == "__main__":
    main()
