"""The message of a report: the numbers of a week or month against the one before, with HTML and plain text.

It is due some hours after the period is over, so that late events are in it. Composing asks the warehouse; whether a
report is due is pure.
"""

from __future__ import annotations

from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from functools import cache
from urllib.parse import quote
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, select_autoescape

from activity.definitions import HOUR_MS
from dashboards import formats, ranges
from dashboards.panels import BREAKDOWNS, METRICS, Panels
from dashboards.ranges import DateRange
from stores.accounts.reports import Report
from stores.warehouse import Warehouse

AFTER_MS = 6 * HOUR_MS  # from the end of a period
LISTS = {"page": "Pages", "source": "Sources", "search": "Searches"}
ROWS = 10
# A folded address in a header becomes an encoded word, in which no mail program finds it.
_WHOLE_LINES = policy.SMTP.clone(max_line_length=998)


def due(report: Report, zone: str, now_ms: int) -> DateRange | None:
    """The period whose report has to be sent now, if any.

    That is the last whole one if it was not sent, it ended when the report was there already, and its next try has
    come. A period that a whole later one has followed is not sent any more."""
    span = ranges.last_whole(report.every, now_ms, zone)
    ready = span.end_ms + AFTER_MS
    if not report.created < ready <= now_ms or now_ms < report.next:
        return None
    return span if report.done is None or report.done < span.first.isoformat() else None


def compose(
    warehouse: Warehouse, report: Report, span: DateRange, *, sender: str, url: str, now_ms: int
) -> EmailMessage:
    """The message about a period. `sender` is who it is from, `url` where browsers reach the dashboards.

    Raises what the warehouse raises."""
    before = ranges.last_whole(report.every, span.start_ms, span.zone)
    panels = Panels(warehouse, report.site, span)
    page = f"{url}/{quote(report.site)}?from={span.first}&to={span.last}"
    leave = f"{url}/unsubscribe/{report.key}"
    words = {
        "site": report.site,
        "every": report.every,
        "title": f"{report.site}: {_named(report.every, span)}",
        "span": span,
        "metrics": METRICS,
        "numbers": panels.stats,
        "before": Panels(warehouse, report.site, before).stats,
        "lists": panels.breakdowns(list(LISTS), ROWS),
        "titles": LISTS,
        "breakdowns": BREAKDOWNS,
        "page": page,
        "leave": leave,
    }
    message = EmailMessage(policy=_WHOLE_LINES)
    message["From"] = sender
    message["To"] = report.address
    message["Subject"] = words["title"]
    message["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1000, ZoneInfo("UTC")))
    # The same for a message that is sent again after a crash, so that a mailbox can keep one of the two.
    host = parseaddr(sender)[1].rpartition("@")[2]
    message["Message-ID"] = f"<report-{report.id}-{report.created}-{span.first}@{host}>"
    message["List-Unsubscribe"] = f"<{leave}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_templates().get_template("report.txt").render(words))
    message.add_alternative(_templates().get_template("report.html").render(words), subtype="html")
    return message


def _named(every: str, span: DateRange) -> str:
    """The period as its readers call it."""
    return f"{span.first:%B %Y}" if every == "month" else f"week of {span.first.day} {span.first:%B %Y}"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


@cache
def _templates() -> Environment:
    """The templates of messages, with the filters of the pages."""
    made = Environment(
        loader=PackageLoader("dashboards", "templates/mail"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": formats.number, "metric": formats.metric, "change": formats.change}
    made.filters |= {"named": formats.named, "line": _on_one_line}
    return made
