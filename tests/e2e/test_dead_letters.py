"""`footfall dead-letters` beside a running `up` and without one: what was not understood is mended and counted."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.harness import ALWAYS, SITE, Up, fetch, footfall, running, secret_key, until


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("letters") / "data", "--site", SITE, "--site", "shop.example") as started:
        yield started


def letters(data: Path, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    """The lines of a command."""
    done = footfall("dead-letters", *arguments, "--data", str(data), "--json")
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def kept(up: Up, mark: str, count: int = 1) -> list[dict[str, Any]]:
    """The letters whose bytes have this mark, once there are so many."""
    where = f"SELECT id, site, visitor, bytes, received_at FROM dead_letters WHERE position(bytes, '{mark}') > 0"

    def found() -> list[dict[str, Any]] | None:
        rows = up.sql(f"{where} ORDER BY received_at, id")
        return rows if len(rows) >= count else None

    rows: list[dict[str, Any]] = until(found, f"{count} letters of {mark} are kept")
    assert len(rows) == count
    return rows


def views(up: Up, mark: str) -> list[dict[str, Any]]:
    return up.sql(f"SELECT * FROM events WHERE position(path, '/{mark}') = 1 ORDER BY path, type")


def view(path: str, **more: Any) -> dict[str, Any]:
    return {"site": SITE, "type": "pageview", "url": f"https://{SITE}/{path}"} | more


def test_a_request_that_was_cut_is_counted_once_with_its_own_time_and_visitor(up: Up) -> None:
    whole = json.dumps(view("cut", title="from 192.0.2.77"))
    up.collect(url=f"https://{SITE}/cut-beside")
    assert up.post(whole[:-1].encode())[0] == 400
    (letter,) = kept(up, "cut")
    assert "192.0.2.77" not in str(up.sql("SELECT * FROM dead_letters"))
    (beside,) = until(lambda: views(up, "cut-beside"), "the neighbour is stored")

    (listed,) = [each for each in letters(up.data, "list", "--reason", "malformed") if each["id"] == letter["id"]]
    assert (listed["site"], listed["state"], listed["topic"]) == (SITE, "waits", "/collect")
    (refused,) = letters(up.data, "replay", letter["id"], status=1)
    assert (refused["outcome"], refused["refused"][0]["reason"]) == ("refused", "malformed")

    mend = ("replay", letter["id"], "--with", "s/$/}/")
    assert [each["outcome"] for each in letters(up.data, *mend, "--dry-run")] == ["would be replayed"]
    assert len(views(up, "cut")) == 1
    assert [(each["outcome"], each["accepted"]) for each in letters(up.data, *mend)] == [("replayed", 1)]
    event, _ = views(up, "cut")
    assert event["received_at"] == event["occurred_at"] == letter["received_at"]
    assert event["visitor"] == beside["visitor"] == letter["visitor"]
    assert event["browser"] == beside["browser"] == "Firefox"

    assert [each["outcome"] for each in letters(up.data, *mend)] == ["replayed before"]
    assert len(views(up, "cut")) == 2
    (shown,) = letters(up.data, "show", letter["id"])
    assert (shown["state"], shown["received"] + "}") == ("replayed", shown["current"])
    assert letter["id"] not in {each["id"] for each in letters(up.data, "list")}
    assert letter["id"] in {each["id"] for each in letters(up.data, "list", "--all")}
    done = footfall("dead-letters", "edit", letter["id"], "--with", "s/cut/other/", "--data", str(up.data))
    assert done.returncode == 1
    assert "its events are counted" in done.stderr


def test_what_was_accepted_beside_it_is_not_counted_again(up: Up) -> None:
    # Of the first two nothing tells that they are the same but their place in the request.
    batch = [view("half/a"), view("half/a"), view("half/b", url=7), view("half/c", id="c"), view("half/d", site=None)]
    before = int(time.time() * 1000)
    status, _, answer = up.post(gzip.compress(json.dumps({"events": batch}).encode()), {"Content-Encoding": "gzip"})
    assert (status, answer["accepted"]) == (202, 3)
    (letter,) = kept(up, "half/a")
    until(lambda: len(views(up, "half")) == 3, "the neighbours are stored")

    mended = "s|7|\"https://example.com/half/b\"|"
    (edited,) = letters(up.data, "edit", letter["id"], "--with", mended)
    assert [each["index"] for each in edited["refused"]] == [4]
    (refused,) = letters(up.data, "replay", letter["id"], status=1)
    assert [each["reason"] for each in refused["refused"]] == ["missing_field"]
    assert len(views(up, "half")) == 3  # a letter is taken whole or not at all

    (done,) = letters(up.data, "replay", letter["id"], "--give-site", SITE)
    assert (done["accepted"], done["duplicates"]) == (2, 3)
    found = views(up, "half")
    assert [each["path"] for each in found] == ["/half/a", "/half/a", "/half/b", "/half/c", "/half/d"]
    assert len({each["visitor"] for each in found}) == 1
    assert {each["protocol"] for each in found} == {"footfall"}
    stats = up.api("stats", **ALWAYS)
    assert stats["pageviews"] == int(up.sql(f"SELECT count() AS n FROM events WHERE site = '{SITE}'")[0]["n"])
    assert before <= int(letter["id"][:12], 16)


def test_letters_are_replayed_by_filter_and_discarded(up: Up) -> None:
    for number in range(3):
        up.post({"site": "shop.example", "type": "buy", "name": f"basket-{number}", "url": "https://shop.example/many"})
    kept(up, "basket-", 3)
    here = ("--site", "shop.example", "--reason", "wrong_type")
    assert len(letters(up.data, "list", *here)) == 3
    done = letters(up.data, "replay", *here, "--with", 's/"type": "buy"/"type": "custom"/')
    assert [each["outcome"] for each in done] == ["replayed"] * 3
    assert len(up.sql("SELECT 1 FROM events WHERE site = 'shop.example' AND name LIKE 'basket-%'")) == 3
    assert letters(up.data, "list", *here) == []

    up.post(b"nobody will ever know what this was")
    (letter,) = kept(up, "nobody")
    assert letter["site"] == ""
    assert [each["outcome"] for each in letters(up.data, "discard", letter["id"])] == ["discarded"]
    assert [each["outcome"] for each in letters(up.data, "discard", letter["id"])] == ["discarded before"]
    assert letter["id"] not in {each["id"] for each in letters(up.data, "list", "--site", "-")}


def test_a_named_visitor_stays_the_one_that_the_site_names(up: Up) -> None:
    key = secret_key(up.data)
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "shop/1"}
    at = int(time.time() * 1000) - 40 * 86_400_000
    for path, name in (("named/good", {}), ("named/bad", {"screen": {"w": 1}})):
        up.post(view(path, visitor="ann", ts=at, **name), headers)
    (letter,) = kept(up, "named/bad")
    assert [each["accepted"] for each in letters(up.data, "replay", letter["id"], "--with", 's/{"w": 1}/"1x1"/')] == [1]
    bad, good = until(lambda: len(found := views(up, "named")) == 2 and found, "both are stored")
    assert (bad["visitor"], bad["occurred_at"], bad["bot"]) == (good["visitor"], good["occurred_at"], "")


def test_the_page_mends_and_replays_one(up: Up) -> None:
    whole = json.dumps(view("paged", title="<b>"))
    up.post(whole[:-1].encode())
    (letter,) = kept(up, "paged")
    assert "&lt;b&gt;" in up.get("/dead-letters?reason=malformed")[1].decode()

    def send(deed: str, text: str) -> tuple[int, str]:
        form = urlencode({"id": letter["id"], "deed": deed, "text": text}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, page = fetch(up.dashboards + "/dead-letters", form, headers)
        return status, page.decode()

    status, page = send("replay", whole[:-1])
    assert (status, "the body is not JSON" in page) == (400, True)
    assert send("keep", whole)[0] == 303
    assert send("replay", whole)[0] == 303
    (event,) = until(lambda: views(up, "paged"), "it is counted")
    assert (event["visitor"], event["received_at"]) == (letter["visitor"], letter["received_at"])
    assert send("replay", whole)[0] == 409
    assert letter["id"] not in up.get("/dead-letters")[1].decode()


def test_lines_of_an_import_and_records_that_are_no_events(start: Callable[..., Up], tmp_path: Path) -> None:
    line = '192.0.2.9 - - [01/Nov/2026:10:00:00 +0000] "GET /line HTTP/1.1" 200 5 "-" "Mozilla/5.0 Firefox/142.0"'
    (tmp_path / "access.log").write_text(line + "\n" + line.replace("01/Nov/2026:10", "01/Now/2026:11") + "\n")
    up = start("--site", SITE).wait_ready()
    data = str(up.data)
    assert footfall("import", str(tmp_path / "access.log"), "--site", SITE, "--data", data).returncode == 0
    (letter,) = letters(up.data, "list")
    assert (letter["topic"], letter["site"]) == ("import", SITE)
    assert "192.0.2.9" not in letter["received"]
    (refused,) = letters(up.data, "replay", letter["id"], status=1)
    assert refused["problem"]
    up.stop()

    # Without `up` the command does the work itself.
    mend = ("replay", letter["id"], "--with", "s/Now/Nov/")
    assert [each["accepted"] for each in letters(up.data, *mend)] == [1]
    assert [each["outcome"] for each in letters(up.data, *mend)] == ["replayed before"]
    done = footfall("sql", "SELECT occurred_at FROM events WHERE path = '/line' ORDER BY 1", "--json", "--data", data)
    hours = [json.loads(each)["occurred_at"][:13] for each in done.stdout.splitlines()]
    assert hours == ["2026-11-01 10", "2026-11-01 11"]
    assert footfall("dead-letters", "show", "nonsense", "--data", data).returncode == 2
    assert footfall("dead-letters", "show", "0" * 28, "--data", data).returncode == 1
    assert footfall("dead-letters", "replay", "--data", data).returncode == 2
