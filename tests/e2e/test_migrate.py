"""The history that people have elsewhere, through the command: on the page and in the API, and twice adds nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import SITE, footfall, secret_key, until
from tests.ingest.migration import exports, test_plausible

pytestmark = pytest.mark.slow

MAY = {"first": "2024-05-01", "last": "2024-05-02"}
ALL_OF_THEM = ("goatcounter", "umami", "matomo", "ga4")


def taken(data: Path, product: str, *files: Path, status: int = 0, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """The summary of an import."""
    site = f"{product}.example"
    done = footfall("import", product, *map(str, files), "--site", site, "--data", str(data), "--json", *flags)
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
    assert {tuple(day["difference"].values()) for day in compared(up.data, "ga4", files["ga4"])} == {(0, 0, 0)}
    (first, second) = compared(up.data, "umami", files["umami"], site="matomo.example")
    assert first["theirs"] == {"visitors": 1, "visits": 1, "pageviews": 2}
    assert second["difference"] == {"visitors": 0, "visits": 0, "pageviews": 0}
    assert up.stats("matomo.example", **MAY)["pageviews"] == stands["matomo"][2]  # nothing was imported
    (only,) = compared(up.data, "umami", files["umami"], "--from", "2024-05-02", site=SITE)
    assert only["difference"] == {"visitors": -1, "visits": -1, "pageviews": -1}


def test_days_that_another_product_counted_are_shown_as_imported(tmp_path: Path, start: Start) -> None:
    up = start("--site", "plausible.example").wait_ready()
    days = {"site": "plausible.example", "first": "2023-02-09", "last": "2023-02-10"}
    file = exports.plausible_zip(tmp_path / "plausible.zip")
    rows = sum(text.count("\n") - 1 for text in exports.PLAUSIBLE.values()) - 1
    done = taken(up.data, "plausible", file)
    assert (done["accepted"], done["refused"], done["not_understood"]) == (rows, 0, 1)
    for _ in range(2):
        stats = up.api("stats", **days)
        numbers = [stats[name] for name in ("visitors", "visits", "pageviews", "events")]
        assert numbers == [285, 314, 629, 629 + 7]
        assert stats["imported"] == ["plausible"]
        assert stats["bounce_rate"] == pytest.approx((77 + 117) / 314)
        assert stats["visit_duration"] == pytest.approx((21070 + 21467) / 314)
        again = taken(up.data, "plausible", file)
        assert (again["accepted"], again["duplicates"]) == (0, rows)
    for interval, visitors in (("day", [119, 166]), ("week", [285]), ("month", [285])):
        series = up.api("timeseries", interval=interval, metric="visitors", **days)
        assert ([row["value"] for row in series["rows"]], series["imported"]) == (visitors, ["plausible"])
    pages = up.api("breakdown", by="page", **days)
    assert [(row["value"], row["visitors"], row["pageviews"]) for row in pages["rows"]] == [("/docs", 13, 14)]
    devices = up.api("breakdown", by="device", **days)
    assert [(row["value"], row["visits"]) for row in devices["rows"]] == [("desktop", 121)]
    # Nobody knows what a filter would choose of them.
    filtered = up.api("stats", filters='[["is","page",["/docs"]]]', **days)
    assert (filtered["visitors"], filtered["imported_left_out"], "imported" in filtered) == (0, ["plausible"], False)
    board, chosen = "/plausible.example?from=2023-02-09&to=2023-02-10", quote('[["is","page",["/docs"]]]')
    assert b"Days that Plausible counted are left out" in up.get(f"{board}&filters={chosen}")[1]
    assert b"Days that Plausible counted are included." in up.get(board)[1]
    assert b"figure-visitors" in up.get("/plausible.example")[1]  # nobody is told that nothing came yet
    assert up.api("stats", site="plausible.example")["visitors"] == 0
    assert up.sql("SELECT count() AS n FROM events") == [{"n": 0}]

    # Another export replaces the days that differ, and a day with events of the site's own is refused.
    pages_of = exports.PLAUSIBLE["imported_pages"].replace("8,8,9", "9,9,9")
    changed = exports.plausible_zip(tmp_path / "changed.zip", imported_pages=pages_of)
    assert taken(up.data, "plausible", changed)["accepted"] == 1
    assert up.api("breakdown", by="page", **days)["rows"][0]["visitors"] == 14
    both = taken(up.data, "plausible", file, changed)
    assert (both["accepted"], both["duplicates"], both["reasons"]) == (0, rows, {"in_later_file": rows})
    assert up.api("breakdown", by="page", **days)["rows"][0]["visitors"] == 14
    view = {"site": "plausible.example", "type": "pageview", "url": "https://plausible.example/", "visitor": "v"}
    up.send([view | {"ts": "2023-02-10T12:00:00Z"}], secret_key(up.data, "plausible.example"))
    # From then on the day's own events are what counts.
    until(lambda: up.api("stats", **days)["pageviews"] == 304 + 1, "the page view is in the numbers")
    later = exports.plausible_zip(tmp_path / "later.zip", imported_visitors=exports.PLAUSIBLE["imported_visitors"]
                                  .replace("166", "167"))  # fmt: skip
    done = taken(up.data, "plausible", later)
    assert done["reasons"] == {"own_events": 3}
    assert compared(up.data, "plausible", file)[1]["ours"] == {"visitors": 1, "visits": 1, "pageviews": 1}

    # What the site does not keep any longer goes with its days.
    sites = up.data / "sites.toml"
    sites.write_text(sites.read_text() + "retention_days = 30\n")
    until(lambda: expired(up.data), "the retention is known")
    stats = up.api("stats", **days)
    assert (stats["visitors"], "imported" in stats) == (0, False)


def test_reports_of_another_language_and_the_events_of_a_server(tmp_path: Path, start: Start) -> None:
    up = start("--site", "ga4.example", "--site", "plausible.example").wait_ready()
    head = "# Startdatum: 20240501\n# Enddatum: 20240502\n\n"
    (tmp_path / "tage.csv").write_bytes((
        head + "Datum;Aktive Nutzer;Sitzungen;Aufrufe;Absprungrate;Durchschnittliche Sitzungsdauer\r\n"
        "01.05.2024;8;10;1.030;40,00 %;00:01:30\r\n02.05.2024;4;5;10;20,00 %;30,5\r\nGesamtsumme;12;15;1.040;;\r\n"
    ).encode("cp1252"))  # fmt: skip
    (tmp_path / "laender.csv").write_bytes("Datum;Land;Aktive Nutzer\n01.05.2024;Österreich;5\n".encode("cp1252"))
    (tmp_path / "turned.csv").write_text("Date,Sessions\n20981231,5\n")
    files = [tmp_path / name for name in ("tage.csv", "laender.csv", "turned.csv")]
    for accepted, again in ((3, 0), (0, 3)):
        done = taken(up.data, "ga4", *files)
        assert (done["accepted"], done["duplicates"]) == (accepted, again)
        assert done["reasons"] == {"grand_total": 1, "in_future": 1}
    stats = up.api("stats", site="ga4.example", **MAY)
    assert [stats[name] for name in ("visitors", "visits", "pageviews")] == [12, 15, 1040]
    assert stats["bounce_rate"] == pytest.approx((4 + 1) / 15)
    assert stats["visit_duration"] == pytest.approx((10 * 90 + 5 * 30.5) / 15)
    countries = up.api("breakdown", site="ga4.example", by="country", **MAY)["rows"]
    assert [(row["value"], row["visitors"]) for row in countries] == [("AT", 5)]

    file = tmp_path / "events_v2.csv"
    file.write_text(str(test_plausible.TABLES["CSVWithNames"]))
    for accepted, again in ((8, 0), (0, 8)):
        done = taken(up.data, "plausible", file)
        assert (done["accepted"], done["duplicates"]) == (accepted, again)
    stats = up.stats("plausible.example", **MAY)
    assert [stats[name] for name in ("visitors", "visits", "pageviews", "events")] == [2, 2, 4, 8]
    sources = up.api("breakdown", site="plausible.example", by="source", **MAY)["rows"]
    assert [(row["value"], row["pageviews"]) for row in sources] == [("google.com", 3), ("news", 1)]
    assert {tuple(day["difference"].values()) for day in compared(up.data, "plausible", file)} == {(0, 0, 0)}


def test_over_the_shards_of_a_cluster_it_is_the_same(tmp_path: Path, start: Start, clickhouse_cluster: str) -> None:
    flags = ("--warehouse", clickhouse_cluster)
    sites = [word for product in ("umami", "plausible") for word in ("--site", f"{product}.example")]
    up = start(*sites, env={"FOOTFALL_WAREHOUSE": clickhouse_cluster}).wait_ready()
    days = {"site": "plausible.example", "first": "2023-02-09", "last": "2023-02-10"}
    events = exports.umami_zip(tmp_path / "umami.zip")
    totals = exports.plausible_zip(tmp_path / "plausible.zip")
    rows = sum(text.count("\n") - 1 for text in exports.PLAUSIBLE.values()) - 1
    assert taken(up.data, "umami", events, flags=flags)["accepted"] == 4
    stats = up.stats("umami.example", **MAY)
    assert [stats[name] for name in ("visitors", "visits", "pageviews", "events")] == [2, 2, 3, 4]
    for again in (0, 1):
        done = taken(up.data, "plausible", totals, flags=flags)
        assert (done["accepted"], done["duplicates"]) == ((0, rows) if again else (rows, 0))
        stats = up.api("stats", **days)
        numbers = [stats[name] for name in ("visitors", "visits", "pageviews", "events", "imported")]
        assert numbers == [285, 314, 629, 629 + 7, ["plausible"]]
    # A later export counts in place of the former one, whose rows stay where they are.
    pages_of = exports.PLAUSIBLE["imported_pages"].replace("8,8,9", "9,9,9")
    changed = exports.plausible_zip(tmp_path / "changed.zip", imported_pages=pages_of)
    assert taken(up.data, "plausible", changed, flags=flags)["accepted"] == 1
    pages = up.api("breakdown", by="page", **days)["rows"]
    assert [(row["value"], row["visitors"], row["pageviews"]) for row in pages] == [("/docs", 14, 14)]
    status, page = up.get("/plausible.example?from=2023-02-09&to=2023-02-10")
    assert (status, b"/docs" in page, b"Plausible" in page) == (200, True, True)
    # The test is of two shards: both have some of it.
    kept = up.sql("SELECT _shard_num AS shard, count() AS n FROM imported_days GROUP BY shard ORDER BY shard")
    assert [row["shard"] for row in kept] == [1, 2], kept
    assert up.stop() == 0


def expired(data: Path) -> bool:
    """Whether `forget --expired` did something."""
    done = footfall("forget", "--expired", "--yes", "--json", "--data", str(data))
    return done.returncode == 0 and bool(done.stdout.strip())


def test_a_foreign_file_is_refused_in_words(tmp_path: Path, start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    (tmp_path / "some.csv").write_text("a,b\n1,2\n")
    done = footfall("import", "umami", str(tmp_path / "some.csv"), "--site", SITE, "--data", str(up.data), "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "some.csv, line 1: none of Umami's tables" in done.stderr
    done = footfall("import", "umami", "--site", SITE, "--data", str(up.data))
    assert done.returncode == 2 and "name the files of the export" in done.stderr
    done = footfall("import", "umami", "x.csv", "--format", "json", "--site", SITE, "--data", str(up.data))
    assert done.returncode == 2 and "--format is for logs" in done.stderr
    (tmp_path / "dump.sql").write_text(exports.umami_mysql())
    done = footfall("import", "matomo", str(tmp_path / "dump.sql"), "--site", SITE, "--data", str(up.data))
    assert done.returncode == 1 and "It looks like an export of Umami: footfall import umami FILE" in done.stderr

    # The export of a range is of the day that is named; compare tells what it does not tell as null.
    files = {"browsers.csv": "x,y\nchrome,14\n", "events.csv": "x,y\nbuy,2\n"}
    (tmp_path / "day.zip").write_bytes(exports.zipped(files))
    where = ("--day", "2024-05-01", "--site", SITE, "--data", str(up.data), "--json")
    for accepted in (2, 0):
        done = footfall("import", "umami", str(tmp_path / "day.zip"), *where)
        assert json.loads(done.stdout)["accepted"] == accepted, done.stderr
    day = {"first": "2024-05-01", "last": "2024-05-01"}
    rows = {by: up.api("breakdown", by=by, **day)["rows"] for by in ("browser", "event")}
    assert [(row["value"], row["visitors"]) for row in rows["browser"]] == [("Chrome", 14)]
    assert [(row["value"], row["visitors"], row["events"]) for row in rows["event"]] == [("buy", 0, 2)]
    done = footfall("compare", str(tmp_path / "day.zip"), "--with", "umami", *where)
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["difference"] == {"visitors": -14, "visits": None, "pageviews": None}
    assert "has no events of its own" in done.stderr
    done = footfall("import", "ga4", str(tmp_path / "some.csv"), *where)
    assert done.returncode == 2 and "--day is for Umami's export of a range" in done.stderr
