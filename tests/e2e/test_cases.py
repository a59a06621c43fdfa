"""What users of such products reported, all on one installation: each with the value that is right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import sync_playwright

from tests.e2e.harness import AGENT, SITE, Up, footfall, running, until
from tests.e2e.site import serving
from tests.require import require

pytestmark = pytest.mark.slow

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
PHONE = "Mozilla/5.0 (Linux; Android 10;"
PHONES_ENGINE = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36"


class Case(NamedTuple):
    """Lines of a day, each of another address: targets, referrers and agents; and the visits by value that result."""

    by: str
    lines: list[tuple[str, str, str]]
    expected: dict[str, int]


def referred(referrers: str) -> list[tuple[str, str, str]]:
    return [("/", referrer if "://" in referrer else f"https://{referrer}/", AGENT) for referrer in referrers.split()]


def at(targets: str) -> list[tuple[str, str, str]]:
    return [(target, "-", AGENT) for target in targets.split()]


PINTEREST, GMAIL = "android-app://com.pinterest/", "android-app://com.google.android.gm/"
CASES = {
    "hosts and tags of one network": Case(
        "source",
        referred("www.facebook.com m.facebook.com l.facebook.com android-app://com.facebook.katana/")
        + at("/?utm_source=Facebook /?utm_source=facebook /?utm_source=FB /?utm_source=Facebook+Ads")
        + at("/?utm_source=Facebook_Mobile_Feed /?a=1?utm_source=%22FB%22; /?fbclid=x"),
        {"facebook.com": 11},
    ),
    "hosts by country and of redirects": Case(
        "source",
        referred("www.google.de www.google.co.uk t.co out.reddit.com lnkd.in away.vk.com m.news.example news.example")
        + referred("en.m.wikipedia.org en.wikipedia.org quark.sm.cn yz.m.sm.cn xn--bcher-kva.example bücher.example")
        + referred("scholar.google.de scholar.google.com")
        + referred("news-example.cdn.ampproject.org m-news-example.translate.goog"),
        {"en.wikipedia.org": 2, "sm.cn": 2, "bücher.example": 2, "google.com": 2, "scholar.google.com": 2,
         "x.com": 1, "reddit.com": 1, "linkedin.com": 1, "vk.com": 1, "news.example": 4},
    ),
    "apps": Case("source", referred(f"{PINTEREST} {GMAIL}"), {"pinterest.com": 1, "mail.google.com": 1}),
    "channels": Case(
        "channel",
        referred(f"{PINTEREST} {GMAIL} out.reddit.com images.google.de"),
        {"Organic Social": 2, "Email": 1, "Organic Search": 1},
    ),
    "a term however its parameter is called": Case(
        "search",
        at("/find?q[]=hats /find?q%5B%5D=hats /find?search[term]=hats /find?Q=hats /find?filter[q]=hats")
        + at("/find?searchText=hats /find?keys=hats /find?q=%E2%80%8Bhats /find?q={search_term_string}"),
        {"hats": 8},
    ),
    "a term however it is encoded": Case(
        "search",
        at("/find?q=caf%E9 /find?q=caf%C3%A9 /find?q=caf\\xe9 /find?q=caf\udce9")
        + at("/find?q=caf%25C3%25A9 /find?q=caf%u00E9 /find?q=caf%E8")
        + at("/find?q=%EF%F0%E8%E2%E5%F2 /find?q=%C3%B1%D7%D3&ie=gb2312 /find?q=%96X%8Eq")
        + at("/find?q=%E5%B8%BD%E5%AD%90%E5"),
        {"café": 6, "cafè": 1, "привет": 1, "帽子": 3},
    ),
    "a page however it is spelled": Case(
        "page",
        at("/caf%C3%A9 /caf%c3%a9 /caf%C3%A9;jsessionid=1 /x/%2e%2E/caf%C3%A9 /caf%C3%A9%3Bjsessionid=1 /café")
        + at("/caf%E9 /a;PHPSESSID=0a1b /a?PHPSESSID=0a1b /./a"),
        {"/café": 6, "/caf%E9": 1, "/a": 3},
    ),
    "agents": Case(
        "browser",
        [
            ("/", "-", f"{CHROME} (compatible; NewAI/1.0; +https://new.example/x)"),
            ("/", "-", f"{CHROME}; NewAI-User/1.0"),
            ("/", "-", f"{CHROME} NewRelicSynthetics/1.0"),
            ("/", "-", "newsboat/2.35.0 (Linux x86_64)"),
            ("/", "-", f"{PHONE} Robot Phone 5) {PHONES_ENGINE}"),
            ("/", "-", f"{PHONE} K) {PHONES_ENGINE} [LinkedInApp]/4.1.800"),
            ("/", "-", CHROME),
        ],
        {"Chrome": 2, "LinkedIn": 1},
    ),
}
DAYS = {name: f"{number:02}" for number, name in enumerate(CASES, 1)}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("cases")
    texts = [
        f'192.0.2.{number} - - [{DAYS[name]}/Jun/2025:12:00:00 +0000] '
        f'"GET {target} HTTP/1.1" 200 1 "{referrer}" "{agent}"\n'
        for name, case in CASES.items()
        for number, (target, referrer, agent) in enumerate(case.lines)
    ]
    (folder / "access.log").write_text("".join(texts), encoding="utf-8", errors="surrogateescape")
    with running(folder / "data", "--site", SITE) as started:
        done = footfall("import", str(folder / "access.log"), "--site", SITE, "--data", str(started.data), "--json")
        assert done.returncode == 0, done.stderr
        yield started


@pytest.mark.parametrize("name", CASES)
def test_what_is_one_for_people_is_one_row(up: Up, name: str) -> None:
    case, day = CASES[name], f"2025-06-{DAYS[name]}"
    rows = up.api("breakdown", by=case.by, first=day, last=day)["rows"]
    assert {row["value"]: row["visits"] for row in rows} == case.expected


def test_a_site_counts_as_soon_as_it_is_added(up: Up) -> None:
    for number in range(3):
        site = f"new{number}.example"
        view = {"site": site, "type": "pageview", "url": f"https://{site}/"}
        assert up.post(view)[0] == 403, "the door has just looked for it"
        assert footfall("site", "add", site, "--data", str(up.data)).returncode == 0
        assert up.post(view)[2]["accepted"] == 1


def test_odd_values_of_properties_do_not_cost_the_event(up: Up) -> None:
    odd = {"nan": '{"a": NaN}', "null": '{"a": null}', "deep": '{"a": ' + "[" * 50 + "]" * 50 + "}", "text": '"[]"'}
    for name, props in odd.items():
        event = json.dumps({"site": SITE, "type": "custom", "name": name, "url": f"https://{SITE}/", "props": "HERE"})
        status, _, answer = up.post(event.replace('"HERE"', props).encode())
        assert (status, answer["accepted"]) == (202, 1), name

    def stored() -> dict[str, Any] | None:
        rows = up.sql("SELECT name, props FROM events WHERE name IN ('nan', 'null', 'deep', 'text')")
        return {row["name"]: json.loads(row["props"]) for row in rows} if len(rows) == len(odd) else None

    expected = {"nan": {"a": None}, "null": {"a": None}, "deep": {"a": "[" * 50 + "]" * 50}, "text": {}}
    assert until(stored, "they are stored") == expected


@pytest.mark.parametrize("zone", ["localtime", "posixrules", "Factory", "right/UTC", "europe/berlin"])
def test_a_zone_that_not_all_know_is_refused_and_ends_nothing(up: Up, zone: str) -> None:
    question = f"timeseries?site={SITE}&from=2025-06-01&to=2025-06-01&interval=hour&timezone={zone}"
    status, body = up.get(f"/api/v1/{question}")
    assert (status, f"timezone '{zone}' is not known" in body.decode()) == (400, True)
    assert up.stats(first="2025-06-01", last="2025-06-01")["visits"] == 11


OWN_SENDER = """async ([url, site]) => {
  const event = name => JSON.stringify({site, type: 'custom', name, url: location.href})
  const taken = navigator.sendBeacon(url, new Blob([event('beacon')], {type: 'application/json'}))
  const headers = {'content-type': 'application/json', 'x-requested-with': 'XMLHttpRequest'}
  const answer = await fetch(url, {method: 'POST', headers, body: event('fetch'), credentials: 'include'})
  return [taken, answer.status]
}"""


@pytest.mark.real
def test_a_sender_of_ones_own_on_another_origin_is_let_in_by_chromium(up: Up) -> None:
    """With JSON as its type, credentials (a beacon always has them) and a header of its own, each of which takes a
    preflight."""
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    with sync_playwright() as playwright, serving("") as address:
        # What a page sends while it goes away bears the browser's own agent, which without a window is a robot's.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", f"--user-agent={CHROME}"]
        )
        page = browser.new_page()
        page.goto(f"{address}/")
        assert page.evaluate(OWN_SENDER, [f"{up.tracking}/collect", SITE]) == [True, 202]
        names = "SELECT name FROM events WHERE name IN ('beacon', 'fetch') AND bot = '' ORDER BY name"
        until(lambda: [row["name"] for row in up.sql(names)] == ["beacon", "fetch"], "both have arrived")
        browser.close()
