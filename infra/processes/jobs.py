"""What the owner of the warehouse does for other commands: each verb is a generator of JSON lines.

Arguments and lines are plain JSON, because they may travel over HTTP (`infra.processes.control`). A verb that changes
data goes through the pipeline, which takes turns with the live micro-batches.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from infra.errors import Failed
from infra.processes import letters, migration
from infra.processes.control import Line, Verb
from infra.wiring import Parts

if TYPE_CHECKING:
    from pipeline.live import Loader
    from pipeline.replay import Progress

_SPOOL_SECONDS = 10.0
_FORGET_SECONDS = 60.0


def of(
    parts: Parts,
    pipeline: Callable[[], list[Loader]],
    still: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Verb]:
    """Returns the verbs over opened parts by name; `pipeline` returns the loaders of the units, for those that need it.

    While what `still` returns is entered, nothing but loaders and verbs writes to the warehouse."""

    def ping() -> Iterator[Line]:
        """Yields nothing: the answer itself shows that the owner is alive."""
        yield from ()

    def resumed() -> list[Loader]:
        """The loaders, once the rows of an erasure that a kill broke off are out: nothing is loaded before."""
        from pipeline import forget
        from pipeline.rebuild import Busy

        loaders = pipeline()
        try:
            forget.resume(loaders[0].of_all_units(), parts.archive, _FORGET_SECONDS)
        except Busy as error:
            raise Failed(str(error)) from error
        return loaders

    def load() -> Iterator[Line]:
        """Loads everything that is in the log now, then yields how many events and dead letters that was."""
        loaders = resumed()
        before = [(loader.status.events, loader.status.dead_letters) for loader in loaders]
        for loader in loaders:
            loader.drain(loader.ends())
        done = list(zip(loaders, before, strict=True))
        yield {
            "events": sum(loader.status.events - events for loader, (events, _) in done),
            "dead_letters": sum(loader.status.dead_letters - letters for loader, (_, letters) in done),
        }

    def rebuild() -> Iterator[Line]:
        """Rebuilds the dirty days, those of visitors with late events."""
        from pipeline.rebuild import reconcile

        done = [reconcile(loader) for loader in resumed()]
        yield {name: sum(of_unit[name] for of_unit in done) for name in done[0]}

    def flush() -> Iterator[Line]:
        """Writes the archive up to the committed position; yields a line per batch of events."""
        from pipeline import archive, erasure

        def work(report: Callable[[Line], None]) -> None:
            for loader in pipeline():
                archive.flush(
                    loader.runner,
                    parts.broker,
                    parts.archive,
                    loader.checkpoint().positions,
                    loader.unit.name,
                    partial(erasure.load, parts.checkpoint),
                    lambda n: report({"events": n}),
                )

        yield from _reporting(work)

    def check(mend: bool) -> Iterator[Line]:
        """Yields what is damaged in the archive, made again with `mend`."""
        from pipeline import erasure, rearchive

        loader = pipeline()[0]
        for found in rearchive.check(
            parts.archive, parts.broker, loader.runner, partial(erasure.load, loader.checkpoint_store), mend=mend
        ):
            yield msgspec.to_builtins(found)

    def reset_positions(dry_run: bool) -> Iterator[Line]:
        """Resets the positions that the broker does not know; yields a line for each, see `pipeline.reset.Reset`."""
        from pipeline.rebuild import Busy
        from pipeline.reset import reset
        from stores.base import Conflict

        try:
            for found in reset(resumed()[0].of_all_units(), parts.archive, dry_run=dry_run):
                yield msgspec.to_builtins(found)
        except (Busy, Conflict) as error:
            raise Failed(str(error)) from error

    def replay(first: str, last: str, site: str | None, source: str, dry_run: bool) -> Iterator[Line]:
        """Runs the pipeline's replay; the line of a site and day has `sha256`, a progress line has `stage` ("log" or
        "days"), `read` and `of` (events; `of` null if not known), and `goes_on_from`, the day, where one was broken
        off before."""
        from pipeline import recover
        from pipeline.portable import RunnerError
        from pipeline.rebuild import Busy
        from pipeline.replay import Incomplete

        loader = resumed()[0]

        def work(report: Callable[[Line], None]) -> None:
            begin, end = date.fromisoformat(first), date.fromisoformat(last)
            days = recover.replayed(
                loader.of_all_units(),
                parts.archive,
                begin,
                end,
                site=site,
                source=source,
                dry_run=dry_run,
                progress=lambda at: report(_progress(at)),
            )
            for day in days:
                report(day)
            if not dry_run:
                recover.recover(loader, parts.archive)

        try:
            yield from _reporting(work)
        except (Incomplete, Busy, RunnerError) as error:
            raise Failed(str(error)) from error

    def replay_rules(
        first: str,
        last: str,
        site: str | None,
        source: str,
        products: list[str],
        gap: int | None,
        midnight: bool,
        campaign: bool,
    ) -> Iterator[Line]:
        """Tells visits by other definitions: the line of a site, day and set has `rules`, others are as of `replay`."""
        from activity.definitions import MINUTE_MS
        from activity.rules import chosen
        from pipeline.rebuild import Busy
        from pipeline.replay import Incomplete
        from pipeline.replay.rules import compared

        loader = pipeline()[0].of_all_units()
        sets = chosen(products, None if gap is None else gap * MINUTE_MS, midnight=midnight, campaign=campaign)
        zones = {each.domain: each.timezone for each in parts.sites.all()}

        def work(report: Callable[[Line], None]) -> None:
            begin, end = date.fromisoformat(first), date.fromisoformat(last)
            for line in compared(
                loader,
                parts.archive,
                begin,
                end,
                sets,
                zones,
                site=site,
                source=source,
                progress=lambda at: report(_progress(at)),
            ):
                report(line)

        try:
            yield from _reporting(work)
        except (Incomplete, Busy) as error:
            raise Failed(str(error)) from error

    def audit(start: int, end: int) -> Iterator[Line]:
        """Yields the account of each hour of receipt in [start, end), Unix ms, in which there was anything."""
        from pipeline import audit
        from stores.receipts import Span

        parts.create_topics()
        sources = audit.Sources(parts.broker, parts.warehouse, parts.archive, parts.checkpoint)
        yield from map(audit.told, audit.audit(sources, Span(start, end)))

    def forget(site: str, visitor: str, user: str, dry_run: bool) -> Iterator[Line]:
        """Erases a visitor or a user; lines with `doing` say what goes now, and the last one is the receipt."""
        from pipeline import forget as forgetting
        from pipeline.erasing import Person
        from pipeline.rebuild import Busy

        person = Person(site, visitor, user)
        if parts.sites.get(site) is None and not parts.warehouse.has_events(site):
            raise Failed(f"{site} is no site, and has no events: a site is named as `footfall site list` shows it")
        if not dry_run:
            _await_the_spool(parts)

        def work(report: Callable[[Line], None]) -> None:
            loader = pipeline()[0].of_all_units()
            if dry_run:
                report(forgetting.look(loader, parts.archive, person))
                return
            receipt = forgetting.forget(loader, parts.archive, person, lambda what: report({"doing": what}))
            parts.live.forget(site, receipt["visitors"])
            receipt["remains"] += [{"where": line, "why": "the spool"} for line in parts.spool().state()]
            report(receipt)

        try:
            yield from _reporting(work)
        except (forgetting.Unable, Busy) as error:
            raise Failed(str(error)) from error

    def expire(site: str, dry_run: bool) -> Iterator[Line]:
        """Removes what sites do not keep any longer, or one; lines with `doing` say what goes now, others are receipts.
        """
        from pipeline import expire as expiring
        from pipeline.forget import Unable
        from pipeline.rebuild import Busy

        retention = parts.retention()
        if site and site not in retention:
            raise Failed(f"{site} has no `retention_days` in {parts.settings.sites}, so all of it is kept")

        def work(report: Callable[[Line], None]) -> None:
            loader = pipeline()[0].of_all_units()
            for each, days in retention.items():
                if site in ("", each) and dry_run:
                    report(expiring.look(loader, parts.archive, each, days))
                elif site in ("", each):
                    report(expiring.expire(loader, parts.archive, each, days, lambda what: report({"doing": what})))

        try:
            yield from _reporting(work)
        except (Unable, Busy) as error:
            raise Failed(str(error)) from error

    def known(site: str, visitor: list[int], id_hi: list[int], id_lo: list[int]) -> Iterator[Line]:
        """Yields the indexes of those of these events of a site that are already stored."""
        import polars as pl

        keys = pl.DataFrame(
            {"visitor": visitor, "id_hi": id_hi, "id_lo": id_lo},
            schema=dict.fromkeys(("visitor", "id_hi", "id_lo"), pl.UInt64),
        ).with_columns(site=pl.lit(site))
        stored = parts.warehouse.lookup_events(keys, 2**63)
        found = keys.with_row_index("at").join(stored, on=["site", "visitor", "id_hi", "id_lo"], how="semi")
        yield {"known": found["at"].to_list()}

    def holds(site: str) -> Iterator[Line]:
        """Whether any event of a site is stored."""
        yield {"holds": parts.warehouse.has_events(site)}

    def known_site(site: str) -> Iterator[Line]:
        """Whether a site is in the sites file or has events or dead letters, and the `sites` of the file."""
        from stores.letters import Filter, Letters

        known = parts.sites.get(site) is not None or parts.warehouse.has_events(site)
        known = known or bool(Letters(parts.warehouse).find(Filter(site=site, all=True), 1))
        yield {"known": known, "sites": sorted(each.domain for each in parts.sites.all())}

    def stored_dead_letters(where: str, lines: list[str]) -> Iterator[Line]:
        """Yields the indexes of those of these lines (base64) that are dead letters already."""
        stored = parts.warehouse.stored_dead_letters(where, lines)
        yield {"known": [index for index, line in enumerate(lines) if line in stored]}

    def sql(statement: str, fmt: str, params: dict[str, str]) -> Iterator[Line]:
        """Runs one read-only statement; yields its result in base64."""
        yield {"body": base64.b64encode(parts.warehouse.read_only(statement, fmt, params).body).decode()}

    def migrate() -> Iterator[Line]:
        """Applies the missing migrations; opening the warehouse has done so already."""
        for name in parts.warehouse.migrate():
            yield {"applied": name}

    def inventory(everything: bool) -> Iterator[Line]:
        """Yields the tracking port and the places of this process, then what the warehouse says about itself."""
        import msgspec

        from stores import inventory
        from stores.backends import hide_credentials

        settings = parts.settings
        places = {name: hide_credentials(getattr(settings, name)) for name in ("broker", "archive", "checkpoint")}
        yield {"port": settings.port, "settings": places}
        yield msgspec.to_builtins(inventory.of(parts.warehouse, time.time_ns() // 1_000_000, everything))

    def report_send(site: str, address: str, every: str) -> Iterator[Line]:
        """Sends the last report of a site to an address now; yields the days that it is about."""
        from infra.processes.messages import Messenger

        zones = {each.domain: each.timezone for each in parts.sites.all()}
        span = Messenger(parts, lambda: zones).send(site, address, every)
        told = {"site": site, "address": address, "every": every}
        yield told | {"first": span.first.isoformat(), "last": span.last.isoformat()}

    def alert_test(number: int) -> Iterator[Line]:
        """Sends a notice of an alert now; yields whom it went to."""
        from dashboards.operation import Operation
        from infra.processes.alerts import Watch

        yield {"alert": number, "target": Watch(parts, Operation, dict).test(number).target}

    def backup(folder: str) -> Iterator[Line]:
        """Writes a backup; progress lines have `copied`, the last one `backup`."""
        from infra.backup.take import take

        yield from take(parts, resumed()[0], still(), Path(folder))

    return {
        "ping": ping,
        "load": load,
        "reconcile": rebuild,
        "archive-flush": flush,
        "archive-check": check,
        "reset-positions": reset_positions,
        "replay": replay,
        "replay-rules": replay_rules,
        "audit": audit,
        "forget": forget,
        "expire": expire,
        "known": known,
        "holds": holds,
        "known-site": known_site,
        "stored-dead-letters": stored_dead_letters,
        "sql": sql,
        "migrate": migrate,
        "inventory": inventory,
        "report-send": report_send,
        "alert-test": alert_test,
        "backup": backup,
        **letters.of(parts),
        **migration.of(parts),
    }


def _progress(at: Progress) -> Line:
    goes_on_from = at.goes_on_from.isoformat() if at.goes_on_from else None
    return {"stage": at.stage, "read": at.events, "of": at.total, "goes_on_from": goes_on_from}


def _await_the_spool(parts: Parts) -> None:
    """Waits until all accepted events are in the log: those in the spool cannot be erased. Raises `Failed`."""
    deadline = time.monotonic() + _SPOOL_SECONDS
    while parts.spool().waits():
        if time.monotonic() > deadline:
            raise Failed("accepted events wait in the spool for the broker: bring it back, then forget")
        time.sleep(0.2)


def _reporting(work: Callable[[Callable[[Line], None]], object]) -> Iterator[Line]:
    """Yields what `work` reports, as it comes. It runs in a thread, because it calls back and cannot yield."""
    lines: SimpleQueue[Line | None] = SimpleQueue()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work(lines.put)
        except BaseException as error:
            failed.append(error)
        finally:
            lines.put(None)

    thread = threading.Thread(target=run, name="verb")
    thread.start()
    while (line := lines.get()) is not None:
        yield line
    thread.join()
    for error in failed:
        raise error
