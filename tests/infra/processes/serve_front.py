"""A server with the real front over an application that misbehaves: `serve_front.py PORT [BOUND=VALUE …]`.

`/panic` meets a real panic of Polars, `/exit` calls sys.exit; `POST /sql` waits until `/release` was asked for as
often; `/control/lines` yields a line as each is asked for, and `/ended` says how many such streams were ended early.
`/x/export/NAME`, also below a share, begins and then fails, fails at once if its name is `none`, and has no end if
that is `endless`. `/x/NAME/stream`, also below a share, tells, as an event, the text that `/tell` was given last and
answers with the status that it was given; `/asked` says how often it was asked.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator

import polars as pl
import pyarrow as pa
from flask import Flask, Response, request

from infra.processes import streams
from infra.processes.front import Front
from ingest import connection, http, server

application = Flask("misbehaving")
released = threading.Semaphore(0)
steps = threading.Semaphore(0)
ended: list[str] = []
told = [("first", 200)]
asked: list[str] = []
naps: list[str] = []


@application.get("/ready")
def ready() -> str:
    return "ready\n"


@application.get("/panic")
def panic() -> str:
    table = pa.table({"at": pa.array([0], pa.timestamp("ms", "localtime"))})  # a zone that Polars does not know
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return str(pl.read_ipc_stream(io.BytesIO(stream.getvalue())))


@application.get("/exit")
def leave() -> str:
    sys.exit(3)


@application.get("/much")
def much() -> bytes:
    return bytes(24 << 20)


@application.get("/nap")
def nap() -> str:
    naps.append("")
    time.sleep(3)
    return "rested\n"


@application.get("/naps")
def how_many() -> str:
    return str(len(naps))


@application.post("/sql")
def slow() -> str:
    released.acquire()
    return request.get_data(as_text=True)


@application.get("/release")
def release() -> str:
    released.release(int(request.args["n"]))
    return ""


@application.post("/control/lines")
def lines() -> Response:
    def work() -> Iterator[str]:
        try:
            while True:
                steps.acquire()
                yield "line\n"
        except GeneratorExit:
            ended.append("early")
            raise

    return Response(work(), mimetype="application/x-ndjson")


@application.get("/share/token/x/export/<name>")
@application.get("/x/export/<name>")
def export(name: str) -> Response:
    def rows() -> Iterator[bytes]:
        try:
            yield b"a row\n" * 1000
            while name == "endless":
                yield bytes(64 << 10)
        except GeneratorExit:
            ended.append("early")
            raise
        raise OSError("the disk is gone")

    if name == "none":
        raise SystemExit("there is nothing to begin with")
    return Response(rows(), mimetype="text/csv")


@application.get("/share/token/x/<name>/stream")
@application.get("/x/<name>/stream")
def stream(name: str) -> Response:
    asked.append(name)
    text, status = told[-1]
    return Response(f"id: {text}\ndata: {name} {text}\n\n", status, mimetype="text/event-stream")


@application.get("/tell")
def tell() -> str:
    told.append((request.args["text"], int(request.args.get("status", 200))))
    return ""


@application.get("/asked")
def how_often() -> str:
    return str(len(asked))


@application.get("/step")
def step() -> str:
    steps.release()
    return ""


@application.get("/ended")
def early() -> str:
    return str(len(ended))


port, *bounds = sys.argv[1:]
for bound in bounds:
    name, _, value = bound.partition("=")
    module = next(module for module in (connection, http, streams) if hasattr(module, name))
    setattr(module, name, type(getattr(module, name))(value))
server.serve(lambda: Front(application, lambda authorization: authorization == b"Bearer owner"), f"127.0.0.1:{port}")
