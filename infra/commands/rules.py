"""The options of `footfall replay` that ask for other definitions of a visit, and the table that answers them.

Their names and sources are written here as well as in `activity.rules`, because a command line that imports the rules
to print its help would load a frame library for it. A test holds the two against each other.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import click

from infra.commands.flags import refuse_unknown_site
from infra.settings import Settings

SOURCES = {
    "matomo": (
        "https://matomo.org/faq/general/faq_36/",
        "https://matomo.org/faq/reports/can-i-change-the-bounce-rate-setting-in-matomo",
    ),
    "ga4": (
        "https://support.google.com/analytics/answer/9191807",
        "https://support.google.com/analytics/answer/11109416",
    ),
    "plausible": ("https://plausible.io/docs/metrics-definitions",),
    "umami": ("https://umami.is/docs/api/website-stats",),
}
EPILOG = "\b\nWhere the rules come from (docs/rules.md has what is made of them):\n" + "\n".join(
    f"  {name if not place else '':<10} {url}" for name, urls in SOURCES.items() for place, url in enumerate(urls)
)

_NAMES = ("products", "gap", "midnight", "campaign")
LONGEST_GAP = 1440  # minutes
_COLUMNS = f"{'day':<10}  {'site':<24}  {'rules':<26}  {'visits':>10}  views/visit  bounce rate  visit duration"


def with_rules(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the function gets `definitions`, None where none of them is given."""

    @functools.wraps(function)
    def wrapper(**arguments: Any) -> Any:
        given = {name: arguments.pop(name) for name in _NAMES}
        wanted = any(given[name] for name in _NAMES)
        return function(definitions=given if wanted else None, **arguments)

    options = [
        click.option(
            "--rules",
            "products",
            multiple=True,
            type=click.Choice(list(SOURCES)),
            help="With --dry-run: what these events are by that product's definitions, beside ours; repeatable.",
        ),
        click.option(
            "--gap",
            type=click.IntRange(1, LONGEST_GAP),
            metavar="MINUTES",
            help="With --dry-run: by ours, but with this longest pause inside a visit.",
        ),
        click.option("--midnight", is_flag=True, help="With --dry-run: by ours, cut at midnight where the site is."),
        click.option("--campaign", is_flag=True, help="With --dry-run: by ours, cut where another campaign is named."),
    ]
    for option in reversed(options):
        option(wrapper)
    return wrapper


def compare(settings: Settings, definitions: dict[str, Any], arguments: dict[str, Any], *, as_json: bool) -> None:
    """Print the table, or its lines as JSON. `arguments` are those of a replay; it has to be a dry run."""
    from infra.commands.replay_lines import ReplayLines
    from infra.processes.session import session

    arguments = dict(arguments)
    if not arguments.pop("dry_run"):
        raise click.UsageError(
            "--rules, --gap, --midnight and --campaign go with --dry-run: nothing stored follows other definitions"
        )
    before: dict[str, Any] = {}
    with session(settings, "footfall replay") as work, ReplayLines(as_json=as_json) as lines:
        if arguments["site"] is not None:
            refuse_unknown_site(work, arguments["site"])
        for line in work.call("replay-rules", arguments | definitions):
            if "stage" in line:
                lines.take(line)
                continue
            if not before and not as_json:
                lines.show(_COLUMNS)
            lines.show(json.dumps(line) if as_json else _told(line, before))
            before = line
    if not before:
        click.echo("no visits on these days", err=True)


def _told(line: dict[str, Any], before: dict[str, Any]) -> str:
    """A row of the table. Day and site stand in the first row of theirs alone."""
    is_first = any(line[name] != before.get(name, "") for name in ("day", "site"))
    day, site = (line["day"] or "total", line["site"]) if is_first else ("", "")
    minutes, seconds = divmod(round(line["visit_duration"]), 60)
    return (
        f"{day:<10}  {site:<24}  {line['rules']:<26}  {line['visits']:>10,}  {line['views_per_visit']:>11.2f}  "
        f"{line['bounce_rate']:>11.1%}  {f'{minutes}m {seconds:02d}s':>14}"
    )
