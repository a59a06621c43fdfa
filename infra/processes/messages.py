"""Sends the messages that are due: reports of sites by e-mail. A thread of the core steps it once a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from activity.zones import ZONES
from dashboards import ranges
from dashboards.reports import letter
from infra import addresses
from infra.errors import Failed
from infra.mail import Unmailed
from infra.settings import spell
from stores.base import StoreError

if TYPE_CHECKING:
    from dashboards.ranges import DateRange
    from infra.wiring import Parts
    from stores.accounts.reports import Report

log = logging.getLogger("footfall")


class Messenger:
    """Sends what is due, over opened parts. `zones` returns the sites with their time zones, `clock` Unix ms.

    What was sent is kept in the accounts file, so a restart neither forgets nor repeats a message."""

    def __init__(
        self,
        parts: Parts,
        zones: Callable[[], Mapping[str, str]],
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._parts = parts
        self._zones = zones
        self._clock = clock

    def step(self, stopping: Callable[[], bool] = lambda: False) -> str:
        """Sends what is due, until `stopping`; returns what failed last, in words, "" if nothing did.

        Raises what the accounts file raises."""
        reports, trouble = self._parts.accounts.reports, ""
        if self._parts.mailer is None:
            return trouble
        for report in reports.all():
            zone = self._zones().get(report.site)
            span = letter.due(report, zone, self._clock()) if zone in ZONES and zone is not None else None
            if span is None or stopping():
                continue
            try:
                self._send(report, span)
            except Unmailed as error:
                trouble = str(error)
                log.warning("A report of %s is not sent to %s: %s", report.site, report.address, error)
                if error.for_good:
                    reports.note_refused(report, span.first.isoformat(), trouble)
                else:
                    reports.note_failed(report, trouble)
            except StoreError as error:
                trouble = str(error)
                log.warning("A report of %s is not made: %s; trying again in a minute", report.site, error)
            else:
                reports.note_sent(report, span.first.isoformat())
        return trouble

    def send(self, site: str, address: str, every: str) -> DateRange:
        """Sends the report of the last whole period now, whether it was sent or not; returns the period.

        Raises `Failed`."""
        report = self._parts.accounts.reports.get(site, address, every)
        zone = self._zones().get(site)
        if zone is None or zone not in ZONES:
            raise Failed(f"{site} is not counted, or has no time zone that is known: see footfall site list")
        span = ranges.last_whole(every, self._clock(), zone)
        try:
            self._send(report, span)
        except Unmailed as error:
            raise Failed(str(error)) from error
        return span

    def _send(self, report: Report, span: DateRange) -> None:
        mailer = self._parts.mailer
        if mailer is None:
            raise Unmailed(f"no mail server is set: name one by {spell('smtp')} and {spell('mail_from')}")
        url, now = addresses.dashboards_url(self._parts.settings), self._clock()
        message = letter.compose(
            self._parts.warehouse, report, span, sender=mailer.sender, url=url, now_ms=now
        )
        mailer.send(message)
