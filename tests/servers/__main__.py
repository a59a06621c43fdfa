"""`python -m tests.servers PART start|stop|status|logs`. Exit status 1: it does not run.

`flink run CMD…` runs a command in the network of its own that Flink has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from tests.servers import diskless, flink, kafka, kafka3, pulsar, redis
from tests.servers.process import NotStarted

PARTS: dict[str, Any] = {
    "diskless": diskless,
    "flink": flink,
    "kafka": kafka,
    "kafka3": kafka3,
    "pulsar": pulsar,
    "redis": redis,
}


@click.command()
@click.argument("part", type=click.Choice(sorted(PARTS)))
@click.argument("verb", type=click.Choice(["start", "stop", "status", "logs"]))
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 is any free one.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where its data lies.")
@click.option("--lines", type=click.IntRange(1), default=50, show_default=True, help="How much `logs` shows.")
def main(part: str, verb: str, port: int | None, folder: Path | None, lines: int) -> None:
    """Run a real PART on 127.0.0.1 in the background."""
    module = PARTS[part]
    server = module.server(folder.resolve() if folder else None)
    if verb == "start":
        try:
            click.echo(module.start(server.folder, module.PORT if port is None else port))
        except NotStarted as error:
            click.echo(str(error), err=True)
            sys.exit(1)
    elif verb == "stop":
        click.echo(f"{part} stopped" if server.stop() else f"{part} was not running")
    elif verb == "logs":
        click.echo(server.tail(lines))
    else:
        address = server.address()
        pids = " ".join(map(str, server.pids()))
        click.echo(
            f"{part} runs at {address}, pid {pids}, in {server.folder}" if address
            else f"{part} does not run" + (f" as a whole, pid {pids} does" if pids else "")
        )  # fmt: skip
        sys.exit(0 if address else 1)


def run(command: list[str]) -> None:
    """Become `command`, inside Flink's network."""
    if not command:
        sys.exit("usage: ./dev flink run COMMAND ARGUMENTS…")
    try:
        inside = [*flink.server().inside(), *command]
    except NotStarted as error:
        sys.exit(str(error))
    os.execvp(inside[0], inside)


if __name__ == "__main__":
    if sys.argv[1:3] == ["flink", "run"]:  # before any option is read: they are the command's
        run(sys.argv[3:])
    main()
