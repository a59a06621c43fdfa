"""Watches what alerts are about and sends their notices. The thread that sends reports steps it once a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING
from urllib.parse import quote

from activity.definitions import DAY_MS, HOUR_MS, MINUTE_MS
from dashboards.alerts import judging
from infra import addresses, webhook
from infra.errors import Failed
from infra.mail import Unmailed
from infra.settings import spell
from stores.accounts.alerts import Alert, Notice
from stores.accounts.roles import ALL
from stores.base import StoreError

if TYPE_CHECKING:
    from dashboards.operation import Operation
    from infra.wiring import Parts

log = logging.getLogger("footfall")

_NEAR, _FAR = HOUR_MS, 8 * DAY_MS  # how long ago the last event of a site is looked for
_MOST_LAG = 120.0  # seconds: when the numbers are further behind, they say nothing about a site


class Watch:
    """Watches over opened parts. `operation` tells of this process, `zones` the sites, `clock` Unix ms."""

    def __init__(
        self,
        parts: Parts,
        operation: Callable[[], Operation],
        zones: Callable[[], Mapping[str, str]],
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._parts = parts
        self._operation = operation
        self._zones = zones
        self._clock = clock

    def step(self, whole: bool, stopping: Callable[[], bool] = lambda: False) -> str:
        """Looks at every alert and sends the notices that are due; returns what failed last, in words.

        Sites are looked at only while their numbers are `whole`. Raises what the accounts file raises."""
        alerts, trouble = self._parts.accounts.alerts, ""
        watched = alerts.all()
        told = self._operation() if watched else None
        for alert in watched:
            if told is None or alert.kind not in judging.KINDS or stopping():
                continue
            try:
                value = self._of_installation(alert, told) if alert.site == ALL else self._of_site(alert, told, whole)
            except StoreError as error:  # what has been noticed must be told all the same
                trouble, value = str(error), None
                log.warning("The alert %s of %s is not looked at: %s", alert.kind, alert.site, error)
            if value is not None:
                kind = judging.KINDS[alert.kind]
                alerts.note(alert, value, judging.fires(kind, alert.threshold, value, alert.firing))
        for notice in alerts.due():
            if stopping():
                break
            try:
                self._send(notice)
            except (Unmailed, webhook.Unposted) as error:
                trouble = str(error)
                log.warning("An alert is not told to %s: %s", notice.alert.target, error)
                alerts.note_failed(notice, trouble)
            else:
                alerts.note_sent(notice)
        return trouble

    def test(self, number: int) -> Alert:
        """Sends a notice of an alert now, with its last value; returns the alert. Raises `Failed`."""
        alert, now = self._parts.accounts.alerts.get(number), self._clock()
        try:
            self._send(Notice(f"msg_test_{number}_{now}", alert, "test", now, alert.value or 0.0, 0))
        except (Unmailed, webhook.Unposted) as error:
            raise Failed(str(error)) from error
        return alert

    def _of_installation(self, alert: Alert, told: Operation) -> float | None:
        match alert.kind:
            case "lag":
                return told.loading.lag_seconds / 60 if told.loading else None
            case "disk":
                return min((disk.free for disk in told.disks), default=None)
            case _:
                letters = self._parts.warehouse.ask("dead_letter_reasons", from_ms=self._clock() - HOUR_MS)
                return float(letters["letters"].sum())

    def _of_site(self, alert: Alert, told: Operation, whole: bool) -> float | None:
        late = told.loading is None or told.loading.lag_seconds > _MOST_LAG
        if not whole or late or alert.site not in self._zones():
            return None
        now, ask = self._clock(), self._parts.warehouse.ask
        if alert.kind == "silence":
            if not self._parts.warehouse.has_events(alert.site):
                return None
            for back in (_NEAR, _FAR):  # the far look reads a week of events
                last = ask("last_event", site=alert.site, from_ms=now - back, until_ms=now)
                if not last.is_empty():
                    return (now - int(last.item())) / MINUTE_MS
            return _FAR / MINUTE_MS
        weeks = 1 if alert.kind == "visitors" else judging.WEEKS + 1
        ends = [now - week * 7 * DAY_MS for week in range(weeks)]
        current, *former = (
            int(ask("visitors_between", site=alert.site, from_ms=end - HOUR_MS, until_ms=end).item()) for end in ends
        )
        return float(current) if alert.kind == "visitors" else judging.of_usual(current, former)

    def _send(self, notice: Notice) -> None:
        alert, settings = notice.alert, self._parts.settings
        about = "the installation" if alert.site == ALL else alert.site
        page = "ops" if alert.site == ALL else quote(alert.site)
        url = f"{addresses.dashboards_url(settings)}/{page}"
        told = judging.told(alert.kind, notice.value)
        at = datetime.fromtimestamp(notice.at / 1000, UTC).isoformat(timespec="seconds")
        if not alert.by_mail:
            body: dict[str, object] = {
                "type": f"alert.{notice.state}",
                "timestamp": at,
                "data": {
                    "alert": alert.id, "site": None if alert.site == ALL else alert.site, "kind": alert.kind,
                    "threshold": alert.threshold, "value": notice.value, "text": f"{about}: {told}", "url": url,
                },
            }  # fmt: skip
            webhook.post(alert.target, alert.secret, notice.id, body, settings.webhook_networks)
            return
        mailer = self._parts.mailer
        if mailer is None:
            raise Unmailed(f"no mail server is set: name one by {spell('smtp')} and {spell('mail_from')}")
        words = {"fired": "Alert", "over": "Over", "test": "Test"}[notice.state]
        message = EmailMessage()
        message["From"], message["To"] = mailer.sender, alert.target
        message["Subject"] = f"{words}: {about}: {told}"
        message["Message-ID"] = f"<{notice.id}@{mailer.sender.rpartition('@')[2].rstrip('>')}>"
        message["Auto-Submitted"] = "auto-generated"
        limit = f"The alert {alert.kind} {alert.threshold:g}: {judging.KINDS[alert.kind].words}."
        message.set_content(f"{about}: {told}, {at}.\n\n{limit}\n{url}\n")
        mailer.send(message)
