"""The server that the tests start: `serve.py PORT FOLDER BROKER_URL WORKERS [PARENT_PIPE]`.

Bounds other than the product's come by the environment: `BOUNDS="BODY_SECONDS=2 HEADER_SECONDS=2"`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import brokers
from infra.processes.tracking import share_counts
from ingest import connection, http, server
from ingest.asgi import Application
from ingest.collect import Options
from ingest.counters import Counters
from ingest.service import Service
from ingest.sites import Sites
from ingest.spool import FolderSpool
from stores import connect_live

port, folder, broker_url, workers_text, *rest = sys.argv[1:]
workers = int(workers_text)
counts = share_counts()


def open_service() -> Service:
    return Service(
        broker=brokers.connect(broker_url),
        live=connect_live(f"file://{folder}/live"),
        sites=Sites(Path(folder) / "sites.toml"),
        spool=FolderSpool(Path(folder) / "spool"),
        options=Options(trusted_proxies=("127.0.0.1",)),
        counters=Counters(counts),
    )


for bound in os.environ.get("BOUNDS", "").split():
    name, _, value = bound.partition("=")
    module = connection if hasattr(connection, name) else http
    setattr(module, name, type(getattr(module, name))(value))
server.serve(
    lambda: Application(open_service),
    f"127.0.0.1:{port}",
    workers=workers,
    on_exit=lambda: shutil.rmtree(counts),
    parent=int(rest[0]) if rest else None,
)
