"""From settings to open connections: the one place that chooses an adapter and opens it.

Each part opens on first use, in the process that uses it (broker clients do not survive a fork). All open parts close
together, the last one first. Imports are inside the functions: `footfall site add` loads no broker, and the tracking
worker no Polars.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import click

from infra import private
from infra.errors import Failed
from infra.settings import Settings, spell

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from brokers.base import Broker
    from infra.mail import Mailer
    from ingest.sites import Sites
    from ingest.spool import Spool
    from pipeline.live import Loader
    from pipeline.runner import Runner
    from pipeline.truncation import Kept
    from pipeline.unit import Unit
    from stores.accounts import Accounts
    from stores.archive import ParquetArchive
    from stores.base import CheckpointStore, Live
    from stores.warehouse import Warehouse

log = logging.getLogger("footfall")


class _Closes(Protocol):
    def close(self) -> None: ...


_Part = TypeVar("_Part", bound=_Closes)

# Parts of a micro-batch that workers elsewhere take one by one; a multiple of what is usual as parallelism.
_SHARDS = 8


def check_broker(settings: Settings) -> None:
    """Checks the broker setting before any process is started for it.

    Raises `click.UsageError` if the URL cannot be used, and the embedded log's own error if its file cannot. A server
    that is unreachable is not an error: it may come later.
    """
    with Parts(settings) as parts:
        _ = parts.broker
        if settings.broker.startswith("sqlite:"):
            parts.create_topics()


def check_sites(settings: Settings) -> None:
    """Raises `Failed` if there is a sites file that cannot be used, before any process is started for it."""
    with Parts(settings) as parts:
        _ = parts.sites


class Parts:
    """The broker, stores and sites that `settings` name, each opened on first use. Use it as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every part that was opened."""
        self._opened.close()

    @cached_property
    def broker(self) -> Broker:
        """The event log. Raises `click.UsageError` if its URL cannot be used."""
        import brokers

        if self.settings.broker.startswith("sqlite:"):
            private.make(self.settings.data)
        try:
            return self._keep(brokers.connect(self.settings.broker, dict(self.settings.broker_secrets)))
        except ValueError as error:  # nothing is connected yet: only the URL can be wrong
            raise click.UsageError(f"{spell('broker')}: {error}") from error

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, with its tables up to date."""
        import stores

        warehouse = self._keep(stores.connect_warehouse(self.settings.warehouse))
        warehouse.migrate()
        return warehouse

    @cached_property
    def checkpoint(self) -> CheckpointStore:
        """The store of committed positions."""
        import stores

        return self._keep(stores.connect_checkpoint(self.settings.checkpoint))

    @cached_property
    def archive(self) -> ParquetArchive:
        """The Parquet archive of raw events."""
        import stores

        return self._keep(stores.connect_archive(self.settings.archive))

    @cached_property
    def runner(self) -> Runner:
        """What runs the pipeline's plans: this process, or workers elsewhere. Raises `click.UsageError` for its URL."""
        from pipeline.runner import RemoteRunner, Runner

        if not self.settings.runner:
            return Runner()
        from infra import worker
        from pipeline import portable

        try:
            executor = portable.executor(self.settings.runner, worker.command(self.settings))
        except portable.InvalidRunner as error:
            raise click.UsageError(f"{spell('runner')}: {error}") from error
        return self._keep(RemoteRunner(executor, self.settings.exchange, _SHARDS))

    def loader(self, unit: Unit) -> Loader:
        """A loader of a unit; the topics have to be there. An embedded warehouse is this process's without a lease."""
        from activity.event import TOPICS
        from pipeline.lease import HeldLease
        from pipeline.live import Loader

        return Loader(
            self.broker,
            self.warehouse,
            self.checkpoint,
            unit=unit,
            partitions=self.broker.partitions(TOPICS[0]),
            runner=self.runner,
            lease=None if self.settings.embedded else HeldLease(self.checkpoint, unit.name),
        )

    @cached_property
    def accounts(self) -> Accounts:
        """The accounts of the dashboards; their file is made with the first user."""
        from stores.accounts import FILE, Accounts

        return self._keep(Accounts(self.settings.data / FILE))

    @cached_property
    def mailer(self) -> Mailer | None:
        """What sends e-mail; None if no mail server is set."""
        from infra.mail import Mailer

        settings = self.settings
        return Mailer(settings.smtp, settings.mail_from, settings.smtp_password) if settings.smtp else None

    @cached_property
    def live(self) -> Live:
        """The state that ingest processes share."""
        import stores

        return self._keep(stores.connect_live(self.settings.live))

    def spool(self, most_bytes: int = 1 << 30) -> Spool:
        """A spool for one service, which closes it; one in a folder holds `most_bytes`."""
        from ingest.spool import FolderSpool
        from stores.backends import parse_location

        place = parse_location(self.settings.spool)
        if place.scheme == "file":
            return FolderSpool(place.folder, most_bytes)
        from ingest.spool_sqs import SqsSpool

        return SqsSpool(place)

    @cached_property
    def sites(self) -> Sites:
        """The configured sites. Raises `Failed` if the file cannot be used."""
        from ingest.sites import Sites, SitesError

        try:
            return Sites(self.settings.sites)
        except SitesError as error:
            raise Failed(str(error)) from error

    def retention(self) -> dict[str, int]:
        """For how many days sites keep what happened, of those for which the sites file says so."""
        return {site.domain: site.retention_days for site in self.sites.all() if site.retention_days is not None}

    @cached_property
    def places(self) -> Any:
        """A reader of the geo database, None if none is set. Raises `Failed` if the file cannot be used."""
        if self.settings.geo is None:
            return None
        import maxminddb

        try:
            return self._keep(maxminddb.open_database(str(self.settings.geo)))
        except (maxminddb.InvalidDatabaseError, OSError, ValueError) as error:
            raise Failed(f"{spell('geo')}: {self.settings.geo} is not a MaxMind-format database: {error}") from error

    def create_topics(self) -> list[str]:
        """Creates the topics that are missing and returns their names; existing topics stay as they are.

        A log that has lost its last records goes on behind all positions that are kept, see `pipeline.truncation`."""
        from activity.event import ALL_TOPICS
        from brokers.base import Resumable
        from infra.topics import TopicSpec, apply, plan
        from pipeline import truncation

        broker = self.broker
        there = set(ALL_TOPICS) & broker.topics().keys()
        missing = len(there) < len(ALL_TOPICS)
        if not missing and not isinstance(broker, Resumable):
            return []
        kept = self._kept_positions()
        changes = []
        if missing:
            spec = TopicSpec() if there else TopicSpec(partitions=kept.partitions)
            changes = [change for change in plan(broker, spec) if change.how == "create"]
            apply(broker, spec, changes)
        if isinstance(broker, Resumable):
            # Any other file may be the wrong one by mistake.
            own = Path(unquote(urlsplit(self.settings.broker).path)) == self.settings.data / "log.db"
            truncation.resume(broker, kept, anew=own)
        return [change.topic for change in changes]

    def _kept_positions(self) -> Kept:
        """The positions that are kept in stores which are there; a folder is not made for it."""
        import stores
        from pipeline.truncation import Kept
        from stores.backends import parse_location
        from stores.base import StoreError

        found: list[CheckpointStore | None] = []
        with ExitStack() as opened:
            try:
                for url, below in ((self.settings.checkpoint, ""), (self.settings.archive, "_manifest")):
                    place = parse_location(url)
                    if place.scheme == "file" and not place.folder.is_dir():
                        found.append(None)
                        continue
                    store = stores.connect_checkpoint(place.below(below) if below else url)
                    opened.callback(store.close)
                    found.append(store)
                return Kept(*found)
            except StoreError as error:
                log.warning("Whether the log has all that was read of it is not known: %s", error)
                return Kept(None, None)

    def _keep(self, part: _Part) -> _Part:
        self._opened.callback(part.close)
        return part


