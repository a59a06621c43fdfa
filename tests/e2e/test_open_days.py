"""Of a busy day that is not over the visits are kept, and filtered answers stay those of an oracle.

So they do while more comes for visitors who are in them already, when late events have their visits, after a kill of
everything, and when the day is kept again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import Up, footfall, until
from tests.e2e.proof import flushed
from tests.e2e.test_filters import Clocks, Questions
from tests.e2e.visiting import A_WHILE, BEHIND_A_PROXY, GAP, Storm, Visit, arrived, killed, reconciled, visits_on

pytestmark = pytest.mark.slow

SITE = "busy.example"
VISITS = 600  # with lasting ids, and as many without: more rows than a day that is worth keeping has


def evening() -> tuple[str, date]:
    """A time zone in which it is between eight and nine in the evening, and the day there. It is open for hours yet."""
    now = datetime.now(UTC)
    east = (20 - now.hour + 11) % 24 - 11
    zone = f"Etc/GMT{-east:+d}"
    return zone, now.astimezone(ZoneInfo(zone)).date()


def sent_so_far(zone: str, day: date) -> list[Visit]:
    """The visits of the day that are over: the same however long they are sent."""
    begun = datetime.now(ZoneInfo(zone)).replace(hour=19, minute=0).timestamp() * 1000 - GAP
    found = [each for named in (False, True) for each in visits_on(SITE, zone, day, VISITS, named=named)]
    return [each for each in found if each.events[-1]["ts"] < begun]


def version(up: Up) -> int:
    """Of what is kept, 0 for nothing."""
    found = up.sql(f"SELECT version FROM open_days FINAL WHERE site = '{SITE}' AND notEmpty(units)")
    return int(found[0]["version"]) if found else 0


def is_kept(up: Up, than: int) -> bool:
    return version(up) > than


def test_filtered_answers_of_a_day_that_is_kept_are_those_of_an_oracle(start: Start, tmp_path: Path) -> None:
    zone, day = evening()
    done = footfall("site", "add", SITE, "--timezone", zone, "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    up = start(*BEHIND_A_PROXY).wait_ready()
    visits = sent_so_far(zone, day)
    late, last = visits[::40], visits[1::20]
    early = [each for each in visits if each not in late and each not in last]
    Storm(up, early, early[::9]).over()
    until(partial(is_kept, up, 0), "the day is kept", A_WHILE)
    asked(up, zone, day, early, 0)

    # What comes for visitors of the visits that are kept, and is late: less than has the day kept again.
    Storm(up, last).over()
    before = version(up)
    up = killed(up, start, *BEHIND_A_PROXY)
    assert version(up) >= before > 0
    Storm(up, late).over()
    asked(up, zone, day, visits, 1)

    # Nobody who asks sees that the day is kept again.
    before = version(up)
    more = [each._replace(events=[event | {"id": f"{event['id']}/a"} for event in each.events]) for each in early[::5]]
    Storm(up, more).over()
    until(partial(is_kept, up, before), "the day is kept again", A_WHILE)
    asked(up, zone, day, visits + more, 0)


def asked(up: Up, zone: str, day: date, sent: list[Visit], turn: int) -> None:
    """Ask all kinds of questions with all kinds of filters, once everything is in the numbers and in visits."""
    arrived(up, sent)
    reconciled(up)
    flushed(up.data)
    assert version(up)
    Questions(up, SITE, Clocks(zone, zone, day - timedelta(days=3)), turn).ask(up, 1)
