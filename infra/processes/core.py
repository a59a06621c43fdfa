"""The core: pages, API, live pipeline and the work of other commands, in the process that owns the warehouse.

`Core` does that work without a server. `footfall up` serves it (`serve`), and a command that finds no owner makes a
core of its own for as long as it runs (`infra.processes.session`). Its verbs are generators of JSON lines.

The core answers queries as soon as the warehouse is open. The pipeline starts a moment later in its own thread,
because importing Beam takes longer than everything else together; meanwhile events wait in the log.
"""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from infra import access, addresses, private, startup
from infra.errors import Failed, words
from infra.processes import jobs, operation
from infra.processes.auditing import Auditor
from infra.processes.control import Owner, Verb, blueprint
from infra.processes.operation import Chore
from infra.processes.retention import Keeper
from infra.settings import Settings
from infra.wiring import Parts

if TYPE_CHECKING:
    from flask import Flask

    from dashboards.operation import Operation
    from pipeline.days import DayBuilder
    from pipeline.live import Loader
    from pipeline.unit import Unit

log = logging.getLogger("footfall")

_GRACE = 20
_RECONCILE_EVERY = 600.0
_FLUSH_EVERY = 60.0
_FLUSH_AT = 200_000  # events: a flush of a minute's events would hold up the loader of a busy site for seconds
_LOOK_EVERY = 2.0
_MESSAGES_EVERY = 60.0
_AUDIT_EVERY = 300.0
_RETENTION_EVERY = 600.0
_RETRY_EVERY = 1.0
_RETRY_AT_LEAST_EVERY = 30.0
_MUCH = 50_000  # records per partition and micro-batch, when nobody waits for the first of them


class Core:
    """The live pipeline over opened parts, and the verbs that commands call."""

    def __init__(self, parts: Parts, unit: Unit | None = None) -> None:
        """Work on one unit, or by default on all that there are, one after the other."""
        self.parts = parts
        self.verbs: dict[str, Verb] = jobs.of(parts, lambda: self.loaders, lambda: self._building)
        self.ended: Exception | None = None
        self._unit = unit
        self._making = threading.Lock()
        self._building = threading.Lock()
        self._loaders: list[Loader] = []
        self._trouble = ""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._chores: dict[str, Chore] = {}
        self._auditor = Auditor(parts)
        self._keeper = Keeper(parts, lambda: self._loaders[0].of_all_units())

    @property
    def loaders(self) -> list[Loader]:
        """The pipeline's loaders, one a unit, made and opened on first use; creates missing topics.

        Raises `UnitsChanged` when the unit that this core was made for is none of those that there are, and
        `UnitsChanging` while they are being changed."""
        with self._making:
            if not self._loaders:
                from pipeline import forget
                from pipeline.checkpoint import UnitsChanged, UnitsChanging
                from pipeline.unit import all_of, layout

                self.parts.create_topics()
                if self.parts.settings.embedded:  # once: later it may be a command of ours that forgets somebody
                    forget.take_over(self.parts.checkpoint)
                found = layout(self.parts.checkpoint)
                if found.to:
                    raise UnitsChanging(found.to)
                if self._unit is not None and self._unit.of != found.of:
                    raise UnitsChanged(found.of)
                loaders = [self.parts.loader(unit) for unit in ([self._unit] if self._unit else all_of(found.of))]
                for loader in loaders:  # before a command may wait for a lease of the dead
                    loader.take_over() if self.parts.settings.embedded else loader.open()
                self._loaders = loaders
            return self._loaders

    @property
    def loader(self) -> Loader:
        """The loader of the one unit that this core works on. Raises `UnitsChanged` when there are several."""
        if len(self.loaders) > 1:
            from pipeline.checkpoint import UnitsChanged

            raise UnitsChanged(len(self.loaders))
        return self.loaders[0]

    @cached_property
    def day_builder(self) -> DayBuilder:
        """Builds the day tables of the sites that there are."""
        from pipeline.days import DayBuilder, complete_batches, leased
        from stores.days import DayTables

        parts, store = self.parts, self.parts.checkpoint
        lease = None if parts.settings.embedded else partial(leased, store)
        return DayBuilder(DayTables(parts.warehouse), partial(complete_batches, store), self._zones, lease=lease)

    def _zones(self) -> dict[str, str]:
        return {site.domain: site.timezone for site in self.parts.sites.all()}

    def prepare(self) -> None:
        """Prepares the loader for large batches without starting it, for a command that decides itself when to load."""
        from pipeline.rebuild import Busy

        for loader in self.loaders:
            if loader.lease is None or loader.lease.take():
                try:
                    self._recover(loader)
                except Busy as error:
                    raise Failed(str(error)) from error
            loader.limit = _MUCH
            loader.compile()

    def close(self) -> None:
        """Gives the leases of the units back, for another process to take them."""
        for loader in self._loaders:
            if loader.lease is not None:
                loader.lease.release()

    def start(self, on_end: Callable[[], object] = lambda: None) -> None:
        """Starts threads that load events, flush the archive and rebuild dirty days, until `stop`.

        Calls `on_end` when the loader ends before that; `ended` is why."""
        self._on_end = on_end
        startup.collect_rarely()
        self._trouble = self._first_look()
        now = int(time.time() * 1000)
        for chore, seconds in (
            ("archive-flush", _FLUSH_EVERY),
            ("reconcile", _RECONCILE_EVERY),
            ("day-tables", _LOOK_EVERY),
            ("messages", _LOOK_EVERY),
            ("audit", _MESSAGES_EVERY),
            ("retention", _LOOK_EVERY),
        ):
            self._chores[chore] = Chore(chore, None, now + int(seconds * 1000))
        for name, work in (
            ("loader", self._load),
            ("archive", self._archive),
            ("reconcile", lambda: self._every(_RECONCILE_EVERY, "reconcile")),
            ("days", self._build_days),
            ("messages", self._send_messages),
            ("audit", lambda: self._while_whole("audit", _MESSAGES_EVERY, _AUDIT_EVERY, self._auditor.step)),
            ("retention", lambda: self._while_whole("retention", _LOOK_EVERY, _RETENTION_EVERY, self._keeper.step)),
        ):
            thread = threading.Thread(target=work, name=name)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stops after committing the current batch, and flushes the archive once more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._has_unit():
            self._quietly("archive-flush")

    def _load(self) -> None:
        """Runs the live pipeline as soon as its broker and stores can be reached."""
        from brokers.base import BrokerError
        from pipeline.checkpoint import UnitsChanged
        from pipeline.rebuild import Busy
        from pipeline.recover import mend
        from pipeline.replay import Incomplete
        from stores.base import BrokenRows, StoreError

        wait = _RETRY_EVERY
        while not self._stop.is_set():
            try:
                try:
                    lease = self.loader.lease
                    if lease is not None and not lease.take():
                        self._trouble = ""  # the numbers move: another process moves them
                        self._stop.wait(_RETRY_EVERY)
                        continue
                    self._recover(self.loader)
                    self._trouble, wait = "", _RETRY_EVERY
                    self.loader.run(self._stop)
                except BrokenRows as broken:
                    self._trouble = f"{broken}; unreadable rows are set aside and made again from the raw events"
                    mend(self.loader, self.parts.archive, broken)
            except UnitsChanged as error:
                self.ended, self._trouble = error, str(error)
                self.close()
                self._on_end()
                return
            except (BrokerError, StoreError, Incomplete, Busy, OSError) as error:
                if self._trouble != str(error):
                    log.warning("The pipeline does not run: %s; trying again", error)
                self._trouble = str(error)
                self._stop.wait(wait)
                wait = min(2 * wait, _RETRY_AT_LEAST_EVERY)
            except BaseException:  # a library's panic too: it would end this thread unnoticed
                log.exception("The pipeline does not run. Events are kept in the log; stop, repair it, start again")
                self._trouble = "the pipeline does not run, see the output of the server"
                self.close()
                return

    def _recover(self, loader: Loader) -> None:
        """Rebuilds what was lost while no process ran."""
        from pipeline.recover import recover

        recover(loader, self.parts.archive)

    def _has_unit(self) -> bool:
        """Whether this process loads: it does not before it has started, nor while another one has the unit."""
        return len(self._loaders) == 1 and ((lease := self._loaders[0].lease) is None or lease.held)

    def problem(self) -> str | None:
        """Says why the numbers do not move; None if they do."""
        return self._trouble or "".join(loader.status.trouble for loader in self._loaders[:1]) or None

    def _first_look(self) -> str:
        """What `/ready` says about lost data until the pipeline, which takes seconds to import, rebuilds it."""
        from pipeline import losses
        from pipeline.checkpoint import CheckpointRepository
        from pipeline.unit import ONE
        from stores.base import StoreError

        try:
            repository = CheckpointRepository(self.parts.checkpoint, (self._unit or ONE).name)
            checkpoint, found = repository.load(), self.parts.warehouse.parts()
            if checkpoint is None or checkpoint.lost:
                return losses.LOST if checkpoint or (found is not None and found.height) else ""
            for segment in checkpoint.segments():
                repository.get_frame(segment)
        except StoreError as error:
            return str(error)
        gone = [] if found is None else losses.lost(checkpoint.parts, losses.parts(found))
        return losses.trouble(gone, checkpoint.missing)

    def _archive(self) -> None:
        """Flushes the archive once a minute, and as soon as there are many events to flush."""
        flushed, at = 0, time.monotonic()
        while not self._stop.wait(_LOOK_EVERY):
            if not self._has_unit():
                continue
            loaded = self._loaders[0].status.events
            if loaded - flushed >= _FLUSH_AT or time.monotonic() - at >= _FLUSH_EVERY:
                self._quietly("archive-flush", _FLUSH_EVERY)
                flushed, at = loaded, time.monotonic()

    def _build_days(self) -> None:
        """Keeps the day tables up to date; of several units, the process of the first one does."""
        wait, trouble, noted = _LOOK_EVERY, "", 0
        while not self._stop.wait(wait):
            if not self._has_unit() or self._loaders[0].unit.number != 1:
                continue
            failed = "The day tables are not up to date, so pages are slower"
            try:
                with self._building:
                    step = self.day_builder.step()
                if not self.day_builder.status.waiting and self.day_builder.status.built > noted:
                    failed = "The checkpoint does not note which days are built, so a loss of them would go unnoticed"
                    self._loaders[0].open()
                    noted = self.day_builder.status.built
                wait, trouble = step, ""
            except BaseException as error:
                if trouble != str(error):
                    log.warning("%s: %s; trying again", failed, error)
                wait, trouble = _RETRY_AT_LEAST_EVERY, str(error)
            self._note("day-tables", wait, trouble)

    def _send_messages(self) -> None:
        """Looks at alerts, and sends reports while the numbers are whole; of several units, the first's process."""
        from infra.processes.alerts import Watch
        from infra.processes.messages import Messenger

        messenger, wait = Messenger(self.parts, self._zones), _LOOK_EVERY
        watch = Watch(self.parts, self.operation, self._zones)
        while not self._stop.wait(wait):
            ours = self._has_unit() and self._loaders[0].unit.number == 1
            if not ours and not self.parts.settings.embedded:
                continue  # another process does; but of an embedded warehouse there is this one alone
            wait, trouble, whole = _MESSAGES_EVERY, "", ours and not self.problem()
            try:
                trouble = watch.step(whole, self._stop.is_set)
                if whole:
                    trouble = messenger.step(self._stop.is_set) or trouble
            except BaseException as error:
                log.exception("Messages are not sent; it is tried again in a minute")
                trouble = words(error)
            self._note("messages", wait, trouble)

    def _while_whole(self, chore: str, first: float, every: float, step: Callable[..., object]) -> None:
        """Does a chore every so many seconds while the numbers are whole; of several units, the first's process."""
        wait = first
        while not self._stop.wait(wait):
            if not self._has_unit() or self._loaders[0].unit.number != 1 or self.problem():
                continue
            wait = every
            try:
                trouble = str(step(self._stop.is_set) or "")
            except BaseException as error:
                log.exception("%s failed; it is tried again later", chore)
                trouble = words(error)
            self._note(chore, wait, trouble)

    def _every(self, seconds: float, verb: str) -> None:
        while not self._stop.wait(seconds):
            if self._has_unit():
                self._quietly(verb, seconds)

    def _quietly(self, verb: str, again: float = 0.0) -> None:
        """Runs a chore, which runs again after so many seconds. If it fails, that is logged; no event is lost."""
        error = ""
        try:
            deque(self.verbs[verb](), maxlen=0)
        except BaseException as failure:
            log.exception("%s failed; it is tried again later", verb)
            error = words(failure)
        self._note(verb, again, error)

    def _note(self, chore: str, again: float, error: str) -> None:
        """Notes that a chore has run now, for the page that tells of it; `again` is in seconds."""
        now = int(time.time() * 1000)
        self._chores[chore] = Chore(chore, now, now + int(again * 1000), error)

    def metrics(self) -> str:
        """The pipeline's metrics as Prometheus text; "" before it has started or while another one has the unit."""
        if not self._has_unit():
            return ""
        return operation.metrics(self._loaders[0].status, self.day_builder.status, self._auditor.unaccounted())

    def operation(self) -> Operation:
        """What this process does beside answering, for those who keep it running."""
        loader = self._loaders[0] if self._has_unit() else None
        waiting = self.day_builder.status.waiting if loader is not None and loader.unit.number == 1 else None
        return operation.of(self.parts, loader, tuple(self._chores.values()), waiting, self._auditor.hours())

    def application(self, owner: Owner | None, collect_url: str) -> Flask:
        """The Flask app of pages, API, SQL and probes; with an owner, its control routes too."""
        from dashboards import app

        parts = self.parts
        return app.create(
            parts.warehouse,
            self._zones,
            parts.live,
            control=blueprint(owner, self.verbs) if owner else None,
            collect_url=collect_url,
            access=access.of(parts.settings, parts.accounts),
            provider=access.provider(parts.settings),
            url=parts.settings.dashboards_url,
            add_site=lambda domain: add_site(parts.settings, domain),
            metrics=self.metrics,
            problem=self.problem,
            operation=self.operation,
            mails=parts.mailer is not None,
            countries=parts.settings.geo is not None,
            replay=self._replay_letter if owner else None,
        )

    def _replay_letter(self, its_id: str, sent: bytes) -> str:
        """Replays one dead letter with these bytes; returns why it is refused again, or ""."""
        from brokers.base import BrokerError

        try:
            (line,) = self.verbs["letters-replay"](
                sent={its_id: base64.b64encode(sent).decode()}, site="", dry_run=False
            )
        except BrokerError as error:
            return str(error)
        return str(line["problem"] or "; ".join(refusal["detail"] for refusal in line["refused"]))


def add_site(settings: Settings, domain: str) -> bool:
    """Adds a site with a new key; returns whether it is new. Raises ValueError in words."""
    from ingest import sites

    return sites.add(settings.sites, domain, key=sites.new_key())


def serve(
    settings: Settings,
    bind: str,
    *,
    pipeline: bool = True,
    follow: int | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serves until a signal, then drains and exits. Calls `on_ready` once it can answer queries.

    With `pipeline` this process owns the data folder, loads events and serves other commands. Without it, pages and
    API show a warehouse that another process fills.
    """
    from infra.processes.front import Front
    from ingest import server

    running: list[Callable[[], None]] = []

    def load() -> object:
        ending = ExitStack()
        running.append(ending.close)
        if pipeline:
            ending.callback(os.close, _wait_for_predecessor(settings))
        core = Core(ending.enter_context(Parts(settings)))
        here = addresses.address(settings.dashboards_host, settings.dashboards_port)
        owner = Owner(os.getpid(), here) if pipeline else None
        application = core.application(owner, addresses.collect_url(settings))
        if owner is not None:
            core.start()
            ending.callback(core.close)
            ending.callback(core.stop)
            owner.publish(settings.data)
            ending.callback(owner.withdraw, settings.data)
        if on_ready is not None:
            on_ready()
        return Front(application, owner.is_me if owner else None)

    def worker_exit(_arbiter: Any, _worker: Any) -> None:
        for end in running:
            end()

    server.serve(load, bind, graceful_timeout=_GRACE, parent=follow, worker_exit=worker_exit)


def _wait_for_predecessor(settings: Settings) -> int:
    """Waits for an earlier core to exit: one whose parent was killed still owns the warehouse for its last batch."""
    private.make(settings.data)
    descriptor = os.open(settings.data / "core.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor

