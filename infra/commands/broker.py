"""The commands about the event log: `footfall broker` checks and moves it, `footfall topics` plans its topics."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from activity.definitions import DAY_MS
from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.errors import Failed
from infra.settings import TO_SECRETS, Settings

if TYPE_CHECKING:
    from brokers.base import Broker, TopicPartition
    from infra.brokers.check import Report
    from infra.brokers.copy import Copy, Verified
    from infra.topics import Change, TopicSpec
    from infra.wiring import Parts


@click.group()
def broker() -> None:
    """Check the event log, or move it to another broker."""


@broker.command(cls=SettingsCommand)
@click.argument("url", required=False)
@click.option("--timeout", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds for an answer.")
@with_json
@with_settings
def check(settings: Settings, url: str | None, timeout: float, as_json: bool) -> None:
    """Say what a broker is, whether it does what Footfall needs, how fast it is, and what to do about any problem.

    URL defaults to the broker setting. The check publishes to and reads from a topic of its own, which it removes.
    Exit status 0: no problems, 1: there are problems.
    """
    import msgspec

    import brokers
    from infra.brokers import check as broker_check

    with _refused_in_words():
        connected = brokers.connect(url or settings.broker, dict(settings.broker_secrets))
    try:
        report = broker_check.check(connected, timeout)
    finally:
        connected.close()
    click.echo(msgspec.json.encode(report) if as_json else _report(report))
    raise click.exceptions.Exit(1 if report.problems else 0)


def _report(report: Report) -> str:
    lines = [report.url]
    if report.product:
        version = f" {report.version}" if report.version else ", which does not say its version"
        servers = f", {report.brokers} server(s)" if report.brokers else ""
        lines.append(f"  {report.product}{version}{servers}")
        lines += [f"  {feature}" for feature in report.features]
    for name, found in report.capabilities.items():
        lines.append(f"  {'yes' if found['supported'] else 'no '} {name}: {found['note']}")
    if report.round_trip_ms:
        p50, p99 = report.round_trip_ms["p50"], report.round_trip_ms["p99"]
        lines.append(f"  round trip {p50:.1f} ms (p50), {p99:.1f} ms (p99)")
        rates = report.published_per_second, report.read_per_second
        lines.append("  {:,} records of 400 bytes published a second, {:,} read".format(*rates))
    lines += [f"  note: {note}" for note in report.notes]
    lines += [f"  PROBLEM {problem.kind}: {problem.text}" for problem in report.problems]
    return "\n".join(lines if report.problems else [*lines, "  all is right"])


@broker.command(cls=SettingsCommand)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@with_json
@with_settings
def move(settings: Settings, source: str, target: str, as_json: bool) -> None:
    """Move all raw events from one broker to another, so that `footfall up` continues there where it stopped.

    You may start it while `footfall up` runs on FROM: it copies what is there, and exit status 1 says that there is
    more to do. Stop `up` and run it again: it copies what came since, compares both sides record by record and switches
    the positions of the live run and of the archive (exit status 0). Then start `up` with TO as --broker. You can
    interrupt it at any moment and run it again. For credentials of TO that are not in its URL, set
    FOOTFALL_TO_USERNAME, FOOTFALL_TO_PASSWORD or FOOTFALL_TO_TOKEN.
    """
    import brokers
    from infra.brokers.copy import Copy
    from infra.wiring import Parts
    from pipeline.live import READ_TOPICS

    if source == target:
        raise click.UsageError("FROM and TO are the same")
    secrets = {name: os.environ[variable] for name, variable in TO_SECRETS.items() if os.environ.get(variable)}
    with Parts(replace(settings, broker=source)) as parts:
        with _refused_in_words():
            to = brokers.connect(target, secrets)
        try:
            with _refused_in_words():
                parts.broker.ping()
            to.ping()
            running = _running(settings)
            copy = Copy(parts.broker, to, READ_TOPICS)
            if running:
                for line in _copied(copy):
                    _say(line | {"switched": False}, as_json)
                raise Failed(f"what was there is copied. {running} Then run this again: it does the rest and switches")
            _finish(parts, to, copy, as_json)
        finally:
            to.close()


@contextmanager
def _refused_in_words() -> Iterator[None]:
    """Turns the errors of an impossible URL into wrong usage."""
    from brokers import MissingClient, UnknownBroker

    try:
        yield
    except (ValueError, UnknownBroker, MissingClient) as error:
        raise click.UsageError(str(error)) from error


def _running(settings: Settings) -> str:
    """Says what to stop because it uses the data folder; "" if nothing does."""
    from infra.processes.lock import DataLock

    lock = DataLock(settings.data)
    holder = lock.holder()
    return f"Stop `{holder.command}` (process {holder.pid})." if lock.held() and holder else ""


def _finish(parts: Parts, to: Broker, copy: Copy, as_json: bool) -> None:
    from infra.brokers.move import Switch, settle
    from infra.processes.lock import DataLock

    lock = DataLock(parts.settings.data)
    lock.take("footfall broker move")
    try:
        settle(parts)
        switch = Switch(parts, parts.broker, to)
        verified: dict[TopicPartition, Verified] = {}
        if not switch.done():
            copied = {(line["topic"], line["partition"]): line["copied"] for line in _copied(copy)}
            verified = _verified(copy, switch.wanted())
        switch.apply({partition: found.translated for partition, found in verified.items()})
        copy.close_topics()
    finally:
        lock.release()
    for (topic, number), found in verified.items():
        line = {"topic": topic, "partition": number, "copied": copied[topic, number], "records": found.records}
        _say(line | {"bytes": found.bytes, "sha256": found.sha256, "switched": True}, as_json)
    click.echo(f"moved: start `footfall up` with --broker {to.url} (and the credentials given here)", err=True)


def _copied(copy: Copy) -> list[dict[str, object]]:
    from activity.event import ALL_TOPICS

    copy.make_topics(ALL_TOPICS)
    with _bar("copying", len(copy.partitions)) as progress:
        return [
            {"topic": partition.topic, "partition": partition.number, "copied": copy.run(partition, progress)}
            for partition in copy.partitions
        ]


def _verified(copy: Copy, wanted: dict[TopicPartition, set[str]]) -> dict[TopicPartition, Verified]:
    """Compares every partition. Raises `Failed` if something was published to the source meanwhile."""
    ends = {partition: copy.source.bounds(partition) for partition in copy.partitions}
    with _bar("comparing", len(ends)) as progress:
        found = {}
        for partition, bounds in ends.items():
            found[partition] = copy.verify(partition, bounds, wanted.get(partition, ()))
            progress(partition, 1.0)
    for partition, bounds in ends.items():
        now = copy.source.bounds(partition)
        if (now and now.last) != (bounds and bounds.last):
            topic, url = partition.topic, copy.source.url
            raise Failed(f"something still publishes to {topic} on {url}: stop it, then run this again")
    return found


@contextmanager
def _bar(label: str, partitions: int) -> Iterator[Callable[[TopicPartition, float], None]]:
    """A progress bar on stderr, if that is a terminal. Partitions count equally; within one, publish time counts."""
    steps = 1_000
    done: dict[TopicPartition, int] = {}
    with click.progressbar(length=partitions * steps, label=label, file=sys.stderr) as bar:

        def progress(partition: TopicPartition, share: float) -> None:
            at = round(min(max(share, 0.0), 1.0) * steps)
            bar.update(max(at - done.get(partition, 0), 0))
            done[partition] = max(at, done.get(partition, 0))

        yield progress


def _say(line: dict[str, object], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(line))
        return
    told = f"{line['topic']}[{line['partition']}]\t{line['copied']} copied"
    click.echo(told + (f"\t{line['records']} there\tsha256 {line['sha256']}" if "records" in line else ""))


@click.group()
def topics() -> None:
    """List, plan and apply the topics that hold the events."""


def _with_spec(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a topic; the function gets one `TopicSpec` instead of them."""

    @functools.wraps(function)
    def wrapper(
        partitions: int | None, retention_days: int | None, keep: bool, replication: int | None, **rest: Any
    ) -> Any:
        from infra.topics import TopicSpec

        if keep and retention_days:
            raise click.UsageError("--keep-forever and --retention-days exclude each other")
        retention = -1 if keep else retention_days and retention_days * DAY_MS
        return function(spec=TopicSpec(partitions, retention, replication), **rest)

    for option in (
        click.option("--replication", type=click.IntRange(1, 9), help="Copies; 3 if there are enough brokers."),
        click.option("--keep-forever", "keep", is_flag=True, help="Keep raw events for ever, as new topics do."),
        click.option("--retention-days", type=click.IntRange(1), help="Keep raw events for this many days."),
        click.option("--partitions", type=click.IntRange(1, 4096), help="Of new topics; 4 by default; then fixed."),
    ):
        wrapper = option(wrapper)
    return wrapper


@topics.command("list", cls=SettingsCommand)
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the topics with partitions, retention and copies. Exit status 1 if one is missing."""
    from activity.event import ALL_TOPICS
    from infra.topics import copied, kept
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
@_with_spec
@with_json
@with_settings
def plan(settings: Settings, spec: TopicSpec, as_json: bool) -> None:
    """Show what `apply` with the same flags would change. Exit status 0: nothing, 1: something.

    A line starts with + for a new topic, ~ for a change, - for a change that deletes events, and ! for one that
    `apply` does not make, with the reason.
    """
    from infra import topics as broker_topics
    from infra.wiring import Parts

    with Parts(settings) as parts:
        changes = broker_topics.plan(parts.broker, spec)
        _show(parts.broker, changes, as_json)
    raise click.exceptions.Exit(1 if changes else 0)


@topics.command(cls=SettingsCommand)
@_with_spec
@click.option("--delete-older", is_flag=True, help="Allow a shorter retention, which deletes the events beyond it.")
@with_json
@with_settings
def apply(settings: Settings, spec: TopicSpec, delete_older: bool, as_json: bool) -> None:
    """Create the topics that are missing and change the others as planned. Nothing shrinks unless you allow it.

    Exit status 1 if something is still not as it should be; `footfall topics plan` shows it.
    """
    from infra import topics as broker_topics
    from infra.wiring import Parts

    with Parts(settings) as parts:
        changes = broker_topics.plan(parts.broker, spec)
        refused = [change for change in changes if change.how == "shorten" and not delete_older]
        allowed = [change for change in changes if change not in refused]
        broker_topics.apply(parts.broker, spec, allowed)
        _show(parts.broker, changes, as_json)
        stays = [*refused, *(change for change in changes if change.how == "refuse")]
        if stays and not as_json:
            click.echo(f"{len(stays)} of {len(changes)} not done", err=True)
    raise click.exceptions.Exit(1 if stays else 0)


@topics.command("reset-positions", cls=SettingsCommand)
@click.option("--yes", is_flag=True, help="Go on where the broker is; without it nothing is changed.")
@with_json
@with_settings
def reset_positions(settings: Settings, yes: bool, as_json: bool) -> None:
    """Go on after the broker has lost records or a topic that are still to be loaded or archived.

    It names each position that the broker does not know or after which records were removed, and with --yes sets it
    to what is there: first make sure that the broker is the right one. What is read again counts once, what was loaded
    stays, and `footfall audit` names the hours that lack something. Exit status 1 if there is something to reset.
    """
    from infra.processes.session import session

    with session(settings, "footfall topics reset-positions") as work:
        found = list(work.call("reset-positions", {"dry_run": not yes}))
    for line in found:
        to = line["now"] or "the first record that is kept"
        told = f"{line['keeper']}\t{line['topic']}[{line['partition']}]: {line['was']} -> {to} ({line['why']})"
        click.echo(json.dumps(line) if as_json else told)
    if not found and not as_json:
        click.echo("the broker knows every position")
    if found and not yes:
        click.echo("nothing was changed: --yes goes on with what is there", err=True)
    raise click.exceptions.Exit(1 if found and not yes else 0)


_SIGNS = {"create": "+", "change": "~", "shorten": "-", "refuse": "!"}


def _show(broker: Broker, changes: list[Change], as_json: bool) -> None:
    from infra import topics as broker_topics

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
