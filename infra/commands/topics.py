"""`footfall topics`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from infra.flags import SettingsCommand, with_json, with_settings
from infra.settings import Settings

if TYPE_CHECKING:
    from brokers.base import Broker
    from infra.broker_topics import Change, Wish

_DAY_MS = 86_400_000


@click.group()
def topics() -> None:
    """The topics that events lie in."""


def _with_wish(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what topics may be wished to be like; the function receives one `Wish` in their place."""

    @functools.wraps(function)
    def wrapper(
        partitions: int | None, retention_days: int | None, keep: bool, replication: int | None, **rest: Any
    ) -> Any:
        from infra.broker_topics import Wish

        if keep and retention_days:
            raise click.UsageError("--keep-forever and --retention-days exclude each other")
        retention = -1 if keep else retention_days and retention_days * _DAY_MS
        return function(wish=Wish(partitions, retention, replication), **rest)

    for option in (
        click.option("--replication", type=click.IntRange(1, 9), help="Copies; 3 where there are as many brokers."),
        click.option("--keep-forever", "keep", is_flag=True, help="Keep raw events for ever, as new topics do."),
        click.option("--retention-days", type=click.IntRange(1), help="How long raw events are kept."),
        click.option("--partitions", type=click.IntRange(1, 4096), help="Of new topics; 4 if left out; then fixed."),
    ):
        wrapper = option(wrapper)
    return wrapper


@topics.command("list", cls=SettingsCommand)
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List our topics with partitions, retention and copies. Exit status 1 when one is missing."""
    from activity.event import ALL_TOPICS
    from infra.broker_topics import copied, kept
    from infra.wiring import Parts

    with Parts(settings) as parts:
        there = parts.broker.topics()
        for name in ALL_TOPICS:
            info = there.get(name)
            if info is None:
                line: dict[str, object] = {"topic": name, "missing": True}
                told = f"{name}\tmissing: footfall topics apply"
            else:
                line = {"topic": name, "partitions": info.partitions, "retention_ms": info.retention_ms}
                line["replication"] = info.replication
                how_long, copies = kept(info.retention_ms), copied(info.replication)
                told = f"{name}\t{info.partitions} partitions\tkept {how_long}\t{copies}"
            click.echo(json.dumps(line) if as_json else told)
    raise click.exceptions.Exit(0 if all(name in there for name in ALL_TOPICS) else 1)


@topics.command(cls=SettingsCommand)
@_with_wish
@with_json
@with_settings
def plan(settings: Settings, wish: Wish, as_json: bool) -> None:
    """Show what `apply` with the same flags would change. Exit status 0: nothing, 1: something.

    A line begins with + for a topic to make, ~ for a change, - for one that deletes events, ! for what is not done
    by this command, with the reason.
    """
    from infra import broker_topics
    from infra.wiring import Parts

    with Parts(settings) as parts:
        changes = broker_topics.plan(parts.broker, wish)
        _show(parts.broker, changes, as_json)
    raise click.exceptions.Exit(1 if changes else 0)


@topics.command(cls=SettingsCommand)
@_with_wish
@click.option("--delete-older", is_flag=True, help="Allow a shorter retention, which deletes the events beyond it.")
@with_json
@with_settings
def apply(settings: Settings, wish: Wish, delete_older: bool, as_json: bool) -> None:
    """Make the topics that are missing, and bring the others to the plan. Nothing is made smaller unasked.

    Exit status 1 when something stays that is not as it should be; `footfall topics plan` shows it.
    """
    from infra import broker_topics
    from infra.wiring import Parts

    with Parts(settings) as parts:
        changes = broker_topics.plan(parts.broker, wish)
        refused = [change for change in changes if change.how == "shorten" and not delete_older]
        allowed = [change for change in changes if change not in refused]
        broker_topics.apply(parts.broker, wish, allowed)
        _show(parts.broker, changes, as_json)
        stays = [*refused, *(change for change in changes if change.how == "refuse")]
        if stays and not as_json:
            click.echo(f"{len(stays)} of {len(changes)} not done", err=True)
    raise click.exceptions.Exit(1 if stays else 0)


_SIGNS = {"create": "+", "change": "~", "shorten": "-", "refuse": "!"}


def _show(broker: Broker, changes: list[Change], as_json: bool) -> None:
    from infra import broker_topics

    for change in changes:
        if as_json:
            click.echo(json.dumps(change._asdict()))
        else:
            note = f" ({change.note})" if change.note else ""
            sign, topic, what = _SIGNS[change.how], change.topic, change.what
            click.echo(f"{sign} {topic}\t{what}: {change.held} -> {change.wanted}{note}")
    if as_json:
        return
    if not changes:
        click.echo("the topics are as they should be")
    copies = broker_topics.copies(broker)
    if copies < broker_topics.COPIES and broker.capabilities["replication"].supported:
        many = "one server, so there is one copy" if copies == 1 else f"{copies} servers, so there are {copies} copies"
        click.echo(f"{broker.url} has {many} of each event; three are safer, on three servers", err=True)
