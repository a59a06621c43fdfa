"""A worker of the pipeline: a process that runs steps of a plan, with the secrets of its own environment.

A plan names its broker and its stores without credentials. `python -m infra.worker` reads this process's
settings, as every command does, and lets `pipeline.resources` find the complete URLs there. What starts a worker,
`footfall load --runner` here or `footfall workers` on another machine, passes its environment on to it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from infra import startup
from infra.settings import Settings

if TYPE_CHECKING:
    from pipeline.workers import Command


def command(settings: Settings) -> Command:
    """The command that starts a worker with these settings."""
    from pipeline.workers import Command

    return Command((sys.executable, "-m", "infra.worker"), os.environ | settings.environment())


def main() -> None:
    """Serve one runner after the other, see `pipeline.workers.work`."""
    startup.begin()
    from pipeline import workers
    from pipeline.resources import RESOURCES

    settings = Settings.load(os.environ)
    RESOURCES.use(
        [settings.broker, settings.warehouse, settings.archive, settings.checkpoint, settings.exchange],
        dict(settings.broker_secrets),
    )
    workers.work()


if __name__ == "__main__":
    main()
