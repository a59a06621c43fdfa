"""From settings to opened parts: the one place that chooses an adapter and opens a connection.

Each part is opened by the first who asks for it, in the process that uses it (broker clients do not survive a
fork), and all that were opened are closed together, last first. Imports are inside: `footfall site add` loads
no broker, and the tracking worker no Polars.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from infra import private
from infra.errors import Failed
from infra.settings import Settings, spell

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from brokers.base import Broker
    from ingest.sites import Sites
    from stores.base import Archive, Checkpoint, Live
    from stores.warehouse import Warehouse


class _Closes(Protocol):
    def close(self) -> None: ...


_Part = TypeVar("_Part", bound=_Closes)


def check_broker(settings: Settings) -> None:
    """Before any process is made for it: raises `click.UsageError` when the broker's URL cannot be used, and what the
    embedded log says when its file cannot. A server may be away now and come later."""
    with Parts(settings) as parts:
        broker = parts.broker
        if settings.broker.startswith("sqlite:"):
            broker.topics()


def check_sites(settings: Settings) -> None:
    """Raises `Failed` when there is a sites file that cannot be used, before any process is made for it."""
    with Parts(settings) as parts:
        _ = parts.sites


class Parts:
    """The parts that `settings` name. Use it as a context manager."""

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
        self._opened.close()

    @cached_property
    def broker(self) -> Broker:
        import brokers

        if self.settings.broker.startswith("sqlite:"):
            private.make(self.settings.data)
        try:
            return self._keep(brokers.connect(self.settings.broker, dict(self.settings.broker_secrets)))
        except ValueError as error:  # nothing is connected yet: only the URL can be wrong
            raise click.UsageError(f"{spell('broker')}: {error}") from error

    @cached_property
    def warehouse(self) -> Warehouse:
        import stores

        warehouse = self._keep(stores.connect_warehouse(self.settings.warehouse))
        warehouse.migrate()
        return warehouse

    @cached_property
    def checkpoint(self) -> Checkpoint:
        import stores

        return self._keep(stores.connect_checkpoint(self.settings.checkpoint))

    @cached_property
    def archive(self) -> Archive:
        import stores

        return self._keep(stores.connect_archive(self.settings.archive))

    @cached_property
    def live(self) -> Live:
        import stores

        return self._keep(stores.connect_live(self.settings.live))

    @cached_property
    def sites(self) -> Sites:
        from ingest.sites import Sites, SitesError

        try:
            return Sites(self.settings.sites)
        except SitesError as error:
            raise Failed(str(error)) from error

    @cached_property
    def places(self) -> Any:
        """A reader of the database of places, None without one."""
        if self.settings.geo is None:
            return None
        import maxminddb

        try:
            return self._keep(maxminddb.open_database(str(self.settings.geo)))
        except (maxminddb.InvalidDatabaseError, OSError, ValueError) as error:
            raise Failed(f"{spell('geo')}: {self.settings.geo} is no MaxMind-format database: {error}") from error

    def create_topics(self) -> list[str]:
        """Make the topics that are missing; those that are there stay as they are."""
        from activity.event import ALL_TOPICS
        from infra.brokers.topics import TopicSpec, apply, plan

        if set(ALL_TOPICS) <= self.broker.topics().keys():
            return []
        missing = [change for change in plan(self.broker, TopicSpec()) if change.how == "create"]
        apply(self.broker, TopicSpec(), missing)
        return [change.topic for change in missing]

    def _keep(self, part: _Part) -> _Part:
        self._opened.callback(part.close)
        return part


