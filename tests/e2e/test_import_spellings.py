"""Lines that servers write otherwise than usual: the same visitors, sources and pages, or said to be not understood.

Each case has a day of its own in one log, so one import serves them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.harness import AGENT, SITE, Up, footfall, running, until

pytestmark = pytest.mark.slow

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
SLACK = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Slack/4.36.140 Chrome/120.0.6099.291 Electron/28.2.3 Safari/537.36"
)
LYNX = "Lynx/2.8.9rel.1 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/1.1.1d"


def line(client: str, target: str = "/a", more: str = "", agent: str = AGENT, referrer: str = "-") -> str:
    return f'{client} - - [{{day}}:12:00:00 +0000] "GET {target} HTTP/1.1" 200 12{more} "{referrer}" "{agent}"'


class Case(NamedTuple):
    lines: list[str]
    numbers: dict[str, int]
    pages: dict[str, int] = {"/a": -1}  # views by page; -1: those of `numbers`


CASES = {
    "a virtual host before the address": Case(
        [line(f"shop.example.com:443 192.0.2.{n}") for n in range(4)], {"visitors": 4, "pageviews": 4}
    ),
    "a file's name before the address": Case(
        [line("access.log.1:192.0.2.1"), line("access.log:192.0.2.1")], {"visitors": 1, "pageviews": 2}
    ),
    "a port that changes": Case(
        [line(f"192.0.2.1:{port}") for port in (51000, 51001, 51002)], {"visitors": 1, "visits": 1, "pageviews": 3}
    ),
    "IPv6 in brackets, with a port": Case(
        [line("[2001:db8::1]:51000"), line("[2001:DB8::1]:51001"), line("2001:db8:0::1")],
        {"visitors": 1, "pageviews": 3},
    ),
    "a chain of proxies": Case([line("192.0.2.1, 198.51.100.1"), line("192.0.2.1")], {"visitors": 1, "pageviews": 2}),
    "IPv4 mapped into IPv6": Case([line("::ffff:192.0.2.1"), line("192.0.2.1")], {"visitors": 1, "pageviews": 2}),
    "a field more before the referrer": Case(
        [
            line("192.0.2.1", more=" 0.012", referrer="https://www.google.com/"),
            line("192.0.2.9", more=" 0.012", agent=GOOGLEBOT),
        ],
        {"visitors": 1, "pageviews": 1, "bots": 1},
    ),
    "a field more after the agent": Case(
        [line("192.0.2.1") + ' "198.51.100.1"', line("192.0.2.9", agent=GOOGLEBOT) + ' "-"'],
        {"visitors": 1, "pageviews": 1, "bots": 1},
    ),
    "one page in several spellings": Case(
        [line("192.0.2.1", target) for target in ("/caf%C3%A9", "/caf%c3%a9", r"/caf\xC3\xA9", "/café", "/x/../café")],
        {"visitors": 1, "pageviews": 5},
        {"/café": 5},
    ),
    "bytes that are no UTF-8": Case(
        [line("192.0.2.1", target) for target in ("/caf%E9", "/caf%e9", r"/caf\xE9", r"/caf\xe8")],
        {"visitors": 1, "pageviews": 4},
        {"/caf%E9": 3, "/caf%E8": 1},
    ),
    "a session in the path": Case(
        [line(f"192.0.2.{n}", f"/shop;jsessionid=A{n}B") for n in range(3)],
        {"visitors": 3, "pageviews": 3},
        {"/shop": 3},
    ),
    "agents": Case(
        [
            line("10.0.0.1", agent="Prometheus/2.40.5"),
            line("192.0.2.2", agent=SLACK),
            line("192.0.2.3", agent=LYNX),
        ],
        {"visitors": 2, "pageviews": 2, "bots": 1},
    ),
}  # fmt: skip
HALF_READ = [line("dialup.example.net"), line("192.0.2.1").rpartition(' "')[0], line("192.0.2.1") + ' "torn']
DAYS = {name: day for day, name in enumerate(CASES, 1)}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """With all cases imported, and the report of that in `report.json`."""
    folder = tmp_path_factory.mktemp("spellings")
    texts = ["#" * 20] * 150
    texts += [text.format(day=f"{DAYS[name]:02}/Jun/2025") for name, case in CASES.items() for text in case.lines]
    texts += [text.format(day="30/Jun/2025") for text in HALF_READ]
    (folder / "access.log").write_text("\n".join(texts) + "\n", encoding="utf-8")
    with running(folder / "data", "--site", SITE, "--proxies", "127.0.0.1") as started:
        (folder / "report.json").write_text(json.dumps(imported(folder, "access.log")))
        yield started


def imported(folder: Path, name: str, *more: str) -> dict[str, Any]:
    done = footfall("import", str(folder / name), "--site", SITE, "--data", str(folder / "data"), "--json", *more)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", CASES)
def test_the_same_visitor_is_one_and_the_same_page_is_one(up: Up, name: str) -> None:
    case, day = CASES[name], f"2025-06-{DAYS[name]:02}"
    found = up.stats(first=day, last=day)
    assert {number: found[number] for number in case.numbers} == case.numbers
    rows = up.api("breakdown", by="page", first=day, last=day)["rows"]
    assert {row["value"]: row["pageviews"] for row in rows} == {
        page: case.numbers["pageviews"] if views < 0 else views for page, views in case.pages.items()
    }


def test_the_host_before_the_address_is_the_pages(up: Up) -> None:
    day = f"2025-06-{DAYS['a virtual host before the address']:02}"
    (found,) = up.sql(
        "SELECT groupUniqArray(host) AS hosts, groupUniqArray(url) AS urls "
        f"FROM events WHERE toDate(occurred_at) = '{day}'"
    )
    assert (found["hosts"], found["urls"]) == (["shop.example.com"], ["https://shop.example.com/a"])


def test_the_source_is_found_behind_a_field_more(up: Up) -> None:
    day = f"2025-06-{DAYS['a field more before the referrer']:02}"
    rows = up.api("breakdown", by="source", first=day, last=day)["rows"]
    assert [(row["value"], row["visits"]) for row in rows] == [("google.com", 1)]


def test_what_is_read_in_half_is_not_understood_and_a_second_import_adds_nothing(up: Up) -> None:
    report = json.loads((up.data.parent / "report.json").read_text())
    events = sum(len(case.lines) for case in CASES.values())
    assert (report["accepted"], report["not_understood"], report["reasons"]) == (events, 3, {"comment": 150})
    reasons = {row["reason"] for row in up.sql("SELECT reason FROM dead_letters")}
    assert {reason.partition(": ")[2].split(" ")[0] for reason in reasons} == {"no", "which", "a"}
    again = imported(up.data.parent, "access.log")
    assert (again["accepted"], again["duplicates"]) == (0, events)


def test_a_page_and_a_visitor_are_the_same_live_and_imported(up: Up) -> None:
    for forwarded, path in (
        ("192.0.2.1", "/caf%C3%A9"), ("192.0.2.1:51000", "/caf%c3%a9"), ("::ffff:192.0.2.1", "/café"),
        ("[::ffff:c000:201]:443", "/x/%2e%2E/caf%C3%A9;jsessionid=1"),
    ):  # fmt: skip
        event = {"site": SITE, "type": "pageview", "url": f"https://{SITE}{path}"}
        status, _, answer = up.post(event, {"X-Forwarded-For": forwarded})
        assert status == 202, answer
    until(lambda: up.stats()["pageviews"] == 4, "the live views are in the numbers")
    assert up.stats()["visitors"] == 1
    rows = up.api("breakdown", by="page")["rows"]
    assert [(row["value"], row["pageviews"]) for row in rows] == [("/café", 4)]
    (stored,) = up.sql("SELECT uniqExact(path) AS paths FROM events WHERE path LIKE '/caf%A9'")
    assert int(stored["paths"]) == 1
    assert "/café" in up.get(f"/{SITE}")[1].decode()


@pytest.mark.parametrize(
    ("content", "arguments", "status"),
    [
        ("x y z\n" * 20, ("--format", "combined"), 1),
        ('{"type":"pageview","url":"https://example.com/","ts":1748779200000}\n' * 20, (), 1),
        (line("192.0.2.1").format(day="01/Jun/1925") + "\n", (), 1),
        (line("192.0.2.1", "/style.css").format(day="01/Jun/2025") + "\nx y z\n", (), 0),
        ("# nothing yet\n\n", (), 0),
        ("", (), 0),
    ],
    ids=["not understood", "events without a visitor", "times that are none", "assets", "comments", "empty"],
)
def test_the_status_is_1_when_lines_were_read_and_none_had_the_form(
    up: Up, tmp_path: Path, content: str, arguments: tuple[str, ...], status: int
) -> None:
    log = tmp_path / "some.log"
    log.write_text(content, encoding="utf-8")
    done = footfall("import", str(log), "--site", SITE, "--data", str(up.data), "--json", *arguments)
    report = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == status, done.stderr
    assert report["accepted"] == 0
    assert ("not one line was taken" in done.stderr) == (status == 1)
    assert status == 0 or "line 1: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("day", "more", "visitors"), [(28, ["--proxies", "10.0.0.0/8"], 1), (29, [], 4)])
def test_who_is_told_the_proxies_takes_no_clients_word_for_its_address(
    up: Up, day: int, more: list[str], visitors: int
) -> None:
    texts = [line("10.0.0.5").format(day=f"{day}/Jun/2025") + f' "192.0.2.{n}, 198.51.100.1"' for n in range(4)]
    folder = up.data.parent
    (folder / f"{day}.log").write_text("\n".join(texts) + "\n")
    assert imported(folder, f"{day}.log", *more)["accepted"] == 4
    stats = up.stats(first=f"2025-06-{day}", last=f"2025-06-{day}")
    assert (stats["visitors"], stats["pageviews"]) == (visitors, 4)
