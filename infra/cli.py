"""The `footfall` command: a table of verbs, each in a small module that is imported when it is called.

Starting the command costs what the verb costs: `footfall --help` loads neither Polars nor ClickHouse, and
modules of `infra.commands` import what is heavy inside their functions.

Exit statuses: 0 done; 1 not as it should be (said on stderr, and in the JSON where there is some); 2 wrong
usage, wrong settings included.
"""

from __future__ import annotations

import importlib
import sys

import click

COMMANDS: dict[str, str] = {
    "up": "infra.commands.serve:up",
    "site": "infra.commands.sites:site",
    "import": "infra.commands.import_:import_",
    "sql": "infra.commands.data:sql",
    "replay": "infra.commands.data:replay",
    "reconcile": "infra.commands.data:reconcile",
    "archive": "infra.commands.data:archive",
    "topics": "infra.commands.broker:topics",
    "broker": "infra.commands.broker:broker",
    "migrate": "infra.commands.data:migrate",
    "ingest": "infra.commands.serve:ingest",
    "load": "infra.commands.serve:load",
    "dashboards": "infra.commands.serve:dashboards",
}


class Verbs(click.Group):
    """Commands by dotted name, in the order in which a newcomer meets them."""

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
    """The console script: what a part of the product says about itself is a sentence, not a traceback."""
    from infra import logs, private
    from infra.errors import in_words

    private.by_default()
    logs.set_up()
    try:
        with in_words():
            # Outside of its standalone mode Click returns the status that a command left with.
            status = footfall.main(prog_name="footfall", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("footfall: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough; nothing is left to say, at interpreter exit either.
        sys.stdout = None
        sys.exit(0)
    sys.exit(status)


if __name__ == "__main__":
    main()
