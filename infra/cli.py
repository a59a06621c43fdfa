"""The `footfall` command: a table of verbs, each imported only when it is called.

Starting a verb costs only what that verb needs: `footfall --help` loads neither Polars nor ClickHouse, and the modules
of `infra.commands` import heavy libraries inside their functions.

Exit statuses: 0 done; 1 something is not as it should be (stderr says what, and so does the JSON if there is any);
2 wrong usage, wrong settings included.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

COMMANDS: dict[str, str] = {
    "up": "infra.commands.serve:up",
    "site": "infra.commands.sites:site",
    "user": "infra.commands.users:user",
    "token": "infra.commands.tokens:token",
    "share": "infra.commands.shares:share",
    "audit-log": "infra.commands.tokens:audit_log",
    "report": "infra.commands.reports:report",
    "alert": "infra.commands.alerts:alert",
    "import": "infra.commands.import_:import_",
    "compare": "infra.commands.compare:compare",
    "dead-letters": "infra.commands.dead_letters:dead_letters",
    "sql": "infra.commands.data:sql",
    "replay": "infra.commands.data:replay",
    "reconcile": "infra.commands.data:reconcile",
    "audit": "infra.commands.audit:audit",
    "archive": "infra.commands.data:archive",
    "doctor": "infra.commands.doctor:doctor",
    "forget": "infra.commands.forget:forget",
    "topics": "infra.commands.broker:topics",
    "broker": "infra.commands.broker:broker",
    "migrate": "infra.commands.data:migrate",
    "backup": "infra.commands.backup:backup",
    "restore": "infra.commands.backup:restore",
    "ingest": "infra.commands.serve:ingest",
    "workers": "infra.commands.serve:workers",
    "load": "infra.commands.serve:load",
    "units": "infra.commands.units:units",
    "dashboards": "infra.commands.serve:dashboards",
}


class Verbs(click.Group):
    """Loads commands by dotted name and lists them in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Ends a command well whose reader (`| head`) has seen enough; Click would make that exit status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            sys.stdout = None  # write nothing more, not even at interpreter exit
            return 0

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = _nearest(args[0])
            if near is None:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near!r}?", ctx) from error


def _nearest(word: str) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(word, COMMANDS, n=1)), None)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="footfall", prog_name="footfall")
def footfall() -> None:
    """Footfall: page views, searches and custom events, from a web page to a number on a page.

    Start with `footfall up`. Every setting is a flag and an environment variable: --broker is FOOTFALL_BROKER.
    """


def main() -> None:
    """The console script. An error that one of our parts raises is shown as a sentence, not as a traceback."""
    from infra import startup
    from infra.errors import in_words

    startup.begin()
    try:
        with in_words():
            # Outside standalone mode Click returns the exit status of the command.
            status = footfall.main(prog_name="footfall", standalone_mode=False)
    except click.exceptions.Abort as error:
        is_signal = isinstance(error.__cause__, KeyboardInterrupt)  # else somebody answered no
        goes_on = ": nothing is lost, and the same command again does the rest" if is_signal else ""
        click.echo(f"footfall: interrupted{goes_on}", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(status)


if __name__ == "__main__":
    main()
