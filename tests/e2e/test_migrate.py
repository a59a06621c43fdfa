"""The history that people have elsewhere, through the command: on the page and in the API, and twice adds nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import SITE, footfall
from tests.ingest.migration import exports

pytestmark = pytest.mark.slow

MAY = {"first": "2024-05-01", "last": "2024-05-02"}
ALL_OF_THEM = ("goatcounter", "umami", "matomo", "ga4")


def taken(data: Path, product: str, *files: Path, status: int = 0) -> dict[str, Any]:
    """The summary of an import."""
    site = f"{product}.example"
    done = footfall("import", product, *map(str, files), "--site", site, "--data", str(data), "--json")
    assert done.returncode == status, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compared(data: Path, product: str, file: Path, *arguments: str, site: str = "") -> list[dict[str, Any]]:
    """The days of an export beside ours."""
    where = ("--site", site or f"{product}.example", "--data", str(data))
    done = footfall("compare", str(file), "--with", product, *where, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_exports_of_other_products_are_history_here(tmp_path: Path, start: Start) -> None:
    up = start(*(word for product in ALL_OF_THEM for word in ("--site", f"{product}.example")), "--site", SITE)
    up.wait_ready()
    (tmp_path / "goatcounter.csv.gz").write_bytes(gzip.compress(exports.GOATCOUNTER.encode()))
    (tmp_path / "matomo.sql").write_bytes(exports.MATOMO_DUMP)
    (tmp_path / "ga4.jsonl").write_text(exports.GA4_LINES)
    files = {
        "goatcounter": tmp_path / "goatcounter.csv.gz",
        "umami": exports.umami_zip(tmp_path / "umami.zip"),
        "matomo": tmp_path / "matomo.sql",
        "ga4": tmp_path / "ga4.jsonl",
    }
    came_to = {"goatcounter": (5, 1, 1), "umami": (4, 1, 1), "matomo": (6, 0, 1), "ga4": (7, 2, 1)}
    stands = {  # visitors, visits, page views, events: by hand
        "goatcounter": (1, 1, 3, 4),
        "umami": (2, 2, 3, 4),
        "matomo": (2, 2, 3, 6),
        "ga4": (2, 2, 3, 7),
    }
    for product, file in files.items():
        for again in (False, True):
            done = taken(up.data, product, file)
            accepted, refused, not_understood = came_to[product]
            counted = (done["accepted"], done["duplicates"], done["refused"], done["not_understood"])
            assert counted == ((0, accepted) if again else (accepted, 0)) + (refused, not_understood), product
            assert done["lines"] == accepted + refused + not_understood
            stats = up.stats(f"{product}.example", **MAY)
            numbers = tuple(stats[name] for name in ("visitors", "visits", "pageviews", "events"))
            assert numbers == stands[product], product
        # What was imported is what the product counted.
        assert {tuple(day["difference"].values()) for day in compared(up.data, product, file)} == {(0, 0, 0)}
    (first, second) = compared(up.data, "umami", files["umami"], site="matomo.example")
    assert first["theirs"] == {"visitors": 1, "visits": 1, "pageviews": 2}
    assert second["difference"] == {"visitors": 0, "visits": 0, "pageviews": 0}
    assert up.stats("matomo.example", **MAY)["pageviews"] == stands["matomo"][2]  # nothing was imported
    (only,) = compared(up.data, "umami", files["umami"], "--from", "2024-05-02", site=SITE)
    assert only["difference"] == {"visitors": -1, "visits": -1, "pageviews": -1}


def test_a_foreign_file_is_refused_in_words(tmp_path: Path, start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    (tmp_path / "some.csv").write_text("a,b\n1,2\n")
    done = footfall("import", "umami", str(tmp_path / "some.csv"), "--site", SITE, "--data", str(up.data), "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "some.csv, line 1: none of Umami's tables" in done.stderr
    done = footfall("import", "umami", "--site", SITE, "--data", str(up.data))
    assert done.returncode == 2 and "name the files of the export" in done.stderr
