"""`footfall replay --dry-run --rules …`: what other products would have said of the events that were sent."""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import SITE, Up, footfall

pytestmark = pytest.mark.slow

DAY = 86_400_000
MINUTE = 60_000


def sent(up: Up) -> tuple[str, str]:
    """Known visits of two days of last week, in the numbers; the days."""
    key = next(site["key"] for site in tomllib.loads((up.data / "sites.toml").read_text())["site"])
    noon = time.time_ns() // 1_000_000 // DAY * DAY - 6 * DAY + DAY // 2
    at = {
        "reader": [noon + n * 20 * MINUTE for n in range(4)],  # 12:00 to 13:00: two hours of the clock
        "glancer": [noon + 5 * MINUTE],
        "owl": [noon + DAY // 2 - 10 * MINUTE, noon + DAY // 2 + 10 * MINUTE],  # over midnight
        "clicker": [noon + MINUTE, noon + 2 * MINUTE],
    }
    events: list[dict[str, Any]] = [
        {
            "site": SITE, "type": "pageview", "visitor": visitor, "ts": time_of, "id": f"{visitor}-{n}",
            "url": f"https://{SITE}/{n}?utm_source=mail&utm_campaign={n}" if visitor == "clicker" else f"https://{SITE}/",
        }
        for visitor, times in at.items()
        for n, time_of in enumerate(times)
    ]  # fmt: skip
    signup = {"type": "custom", "name": "signup", "visitor": "server", "ts": noon, "id": "signup"}
    up.send([*events, {"site": SITE, "url": f"https://{SITE}/"} | signup], key)
    up.shows({"events": 10, "visits": 5})
    return tuple(time.strftime("%Y-%m-%d", time.gmtime((noon + day) / 1000)) for day in (0, DAY))  # type: ignore[return-value]


def told(data: Path, days: tuple[str, str], *more: str) -> dict[tuple[str | None, str], tuple[Any, ...]]:
    """Visits, bounces and seconds in all by day and rules."""
    done = footfall("replay", "--from", days[0], "--to", days[1], "--dry-run", "--json", "--data", str(data), *more)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["site"] for line in lines} == {SITE}
    return {
        (line["day"], line["rules"]): (
            line["visits"],
            line["pageviews"],
            round(line["bounce_rate"] * line["visits"]),
            round(line["visit_duration"] * line["visits"]),
        )
        for line in lines
    }


def test_other_rules_say_what_their_products_would_have_said_while_up_runs(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    first, second = days = sent(up)
    before = up.stats(first=first, last=second)
    names = [word for name in ("matomo", "ga4", "plausible", "umami") for word in ("--rules", name)]
    found = told(up.data, days, *names, "--gap", "15", "--midnight", "--campaign")
    assert found == {
        (first, "footfall"): (5, 9, 2, 3600 + 1200 + 60),
        (first, "matomo"): (6, 8, 5, 3600),  # the owl is cut at midnight, the clicker by the second campaign
        (first, "ga4"): (5, 9, 2, 3600 + 1200 + 60),
        (first, "plausible"): (5, 9, 1, 3600 + 1200 + 60),  # a custom event is no bounce
        (first, "umami"): (5, 8, 3, 2400 + 60),  # by the hour, and page views alone
        (first, "gap=15,midnight,campaign"): (9, 8, 9, 0),
        (second, "footfall"): (0, 0, 0, 0),
        (second, "matomo"): (1, 1, 1, 0),
        (second, "ga4"): (0, 0, 0, 0),
        (second, "plausible"): (0, 0, 0, 0),
        (second, "umami"): (1, 1, 1, 0),
        (second, "gap=15,midnight,campaign"): (1, 1, 1, 0),
        (None, "footfall"): (5, 9, 2, 4860),
        (None, "matomo"): (7, 9, 6, 3600),
        (None, "ga4"): (5, 9, 2, 4860),
        (None, "plausible"): (5, 9, 1, 4860),
        (None, "umami"): (6, 9, 4, 2460),
        (None, "gap=15,midnight,campaign"): (10, 9, 10, 0),
    }
    # Ours are the numbers of the page, and nothing stored follows the others.
    assert (before["visits"], before["bounce_rate"], before["visit_duration"]) == (5, 2 / 5, 4860 / 5)
    assert up.stats(first=first, last=second) == before
    # The archive says the same, as a table too, and so does a command that owns the folder.
    assert told(up.data, days, *names, "--gap", "15", "--midnight", "--campaign", "--source", "archive") == found
    span = ("--from", first, "--to", second, "--data", str(up.data))
    table = footfall("replay", *span, "--dry-run", "--rules", "matomo").stdout.splitlines()
    assert [line.split() for line in table if line.startswith("total")] == [
        ["total", SITE, "footfall", "5", "1.80", "40.0%", "16m", "12s"]
    ]
    assert table[-1].split() == ["matomo", "7", "1.29", "85.7%", "8m", "34s"]
    # Nothing is stored by other definitions.
    refused = footfall("replay", *span, "--rules", "matomo")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nothing stored follows other definitions" in refused.stderr
    assert up.stop() == 0
    assert told(up.data, days, "--rules", "umami")[None, "umami"] == found[None, "umami"]
