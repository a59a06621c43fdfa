"""The processes that `up` starts: `python -m infra.processes tracking|core|demo`.

A child inherits three descriptors: a pipe that closes when its parent is gone, a pipe on which it announces that it
serves, and the listening socket. It reads its settings from the environment, like every command.
"""

from __future__ import annotations

import os
import signal
import sys

import click
import msgspec

from infra.settings import Settings


@click.command()
@click.argument("role", type=click.Choice(["tracking", "core", "demo"]))
@click.option("--follow", type=int, required=True)
@click.option("--announce", type=int, required=True)
@click.option("--listen", type=int)
@click.option("--site", default="localhost")
def main(role: str, follow: int, announce: int, listen: int | None, site: str) -> None:
    """Run one child process. Internal: started by `footfall up`."""
    from infra import startup

    startup.begin()
    settings = Settings.load(os.environ)

    def announced() -> None:
        from infra.processes.supervisor import Started

        os.write(announce, msgspec.json.encode(Started(role, os.getpid())) + b"\n")

    if role == "demo":
        from infra.processes import demo
        from ingest.sites import Sites

        entry = Sites(settings.sites).get(site)
        if entry is None or entry.key is None:
            raise SystemExit(f"--demo needs a secret key for {site} in {settings.sites}: key = \"…\"")
        demo.run(settings, site, entry.key, follow)
    elif role == "tracking":
        from infra.processes import tracking

        tracking.serve(settings, f"fd://{listen}", follow=follow, on_ready=announced)
    else:
        from infra.processes import core

        core.serve(settings, f"fd://{listen}", follow=follow, on_ready=announced)


if __name__ == "__main__":
    # Ctrl-C reaches the whole process group, perhaps before a child is ready to drain; until then it just exits.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    main()
