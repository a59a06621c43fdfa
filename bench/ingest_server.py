"""The servers of benches: `python -m bench.ingest_server peer|ours|unlimited|limited PORT WORKERS [URL FOLDER]`.

`limited` has the limits as they come, the others limits that no bench reaches, so that they are counted all the same.
Floods come from many addresses: these two believe `X-Forwarded-For`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import brokers
import stores.live
from infra.processes.tracking import share_counts
from ingest import asgi, server
from ingest.collect import Options
from ingest.counters import Counters
from ingest.limiter import Limits
from ingest.service import Door
from ingest.sites import Site, Sites


async def peer(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    """Reads the body and answers 204: the least that a server can do with an event."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    kind, port, workers, *rest = sys.argv[1:]
    bind = f"127.0.0.1:{port}"
    if kind == "peer":
        server.serve(lambda: peer, bind, workers=int(workers), worker_class="asgi")
        return
    url, folder = rest
    beyond = "1000000000/minute"
    limits = Limits(address=beyond, network=beyond, site=beyond) if kind != "limited" else True
    counts = share_counts()

    def open_door() -> Door:
        return Door(
            broker=brokers.connect(url),
            live=stores.live.connect_live(f"file://{folder}/live"),
            sites=Sites(sites={"bench.example": Site(domain="bench.example", limits=limits)}),
            spool=Path(folder) / "spool",
            options=Options(trusted_proxies=() if kind == "ours" else ("127.0.0.1",)),
            counters=Counters(counts),
        )

    server.serve(lambda: asgi.Application(open_door), bind, workers=int(workers), on_exit=lambda: shutil.rmtree(counts))


if __name__ == "__main__":
    main()
