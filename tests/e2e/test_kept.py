"""What users keep of a site over a running `footfall up`: segments, goals, annotations, shares, a frame elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect, sync_playwright

from tests.e2e.harness import SITE, Up, fetch, footfall, running
from tests.e2e.site import serving
from tests.patience import patient
from tests.require import require

OTHER = "other.example"
PASSWORD = "correct horse battery staple"
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
SHOWN = round(patient(30_000))
DAYS = {"period": "7d"}
VISITORS = ({"url": f"https://{SITE}/"}, {"url": f"https://{SITE}/pricing"}, {"url": f"https://{SITE}/pricing"})


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Two visitors of the page /pricing, one of another; one of the other site."""
    folder = tmp_path_factory.mktemp("kept")
    with running(folder / "data", "--site", SITE, "--site", OTHER, "--proxies", "127.0.0.1") as started:
        for number, event in enumerate(VISITORS):
            sent = {"site": SITE, "type": "pageview", **event}
            status, _, _ = started.post({"events": [sent]}, {"X-Forwarded-For": f"192.0.2.{number + 1}"})
            assert status == 202
        started.collect(site=OTHER, url=f"https://{OTHER}/")
        started.shows({"visitors": 3})
        started.shows({"visitors": 1}, OTHER)
        yield started


def form(up: Up, path: str, headers: dict[str, str] | None = None, **fields: Any) -> tuple[int, str, str]:
    """The status, the address that it leads to and the page."""
    sent = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    status, named, body = fetch(up.dashboards + path, urlencode(sent).encode(), FORM | (headers or {}))
    return status, named.get("location", ""), body.decode()


def page(up: Up, path: str, **headers: str) -> tuple[int, str]:
    status, _, body = fetch(up.dashboards + path, None, headers)
    return status, body.decode()


def command(up: Up, *words: str, **options: str) -> dict[str, Any]:
    done = footfall(*words, "--data", str(up.data), "--json", **options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def path_of(share: dict[str, Any]) -> str:
    return urlsplit(str(share["address"])).path


def test_filters_are_saved_and_asked_for_by_name(up: Up) -> None:
    chosen = [["is", "page", ["/pricing"]]]
    status, address, _ = form(up, f"/{SITE}/saved", deed="add", kind="segment", name="Buyers", filters=chosen, **DAYS)
    assert status == 303
    assert 'aria-current="true">Buyers</a>' in page(up, address)[1]
    assert up.api("stats", segment="Buyers", **DAYS)["visitors"] == 2
    status, body = up.get(f"/api/v1/stats?site={SITE}&period=7d&segment=Nobody")
    assert (status, "there are 'Buyers'" in body.decode()) == (400, True)
    assert page(up, f"/{OTHER}")[0] == 200  # nobody has to sign in because something is kept


def test_a_goal_is_counted_from_what_was_stored_before(up: Up) -> None:
    goal = {"dimension": "page", "operator": "is", "values": "/pricing"}
    assert form(up, f"/{SITE}/saved", deed="add", kind="goal", name="Saw prices", **goal)[0] == 303
    found = up.api("goals", **DAYS)
    assert [(row["goal"], row["visitors"]) for row in found["rows"]] == [("Saw prices", 2)]
    assert found["rows"][0]["conversion_rate"] == pytest.approx(2 / 3)
    steps = json.dumps([["is", "goal", ["Saw prices"]]])
    assert up.api("funnel", steps=steps, **DAYS)["rows"][0]["reached"] == 2
    assert "Saw prices" in page(up, f"/{SITE}?period=7d")[1]


def test_a_day_is_annotated(up: Up) -> None:
    sent = {"deed": "add", "day": up.since, "text": "The prices went down"}
    assert form(up, f"/{SITE}/annotations", **sent)[0] == 303
    assert up.api("annotations", **DAYS)["rows"] == [{"date": up.since, "time": None, "text": "The prices went down"}]
    assert "The prices went down" in page(up, f"/{SITE}?period=7d")[1]


def test_a_share_opens_one_site_until_it_is_withdrawn(up: Up) -> None:
    made = command(up, "share", "add", "The board", "--site", SITE, "--days", "30", "--files")
    path = path_of(made)
    root = path.removesuffix(f"/{SITE}")
    status, text = page(up, f"{path}?period=7d")
    assert (status, f'href="{root}/{SITE}/visits' in text) == (200, True)
    assert page(up, f"{root}/{SITE}/visits?period=7d")[0] == 200
    assert "/pricing" in page(up, f"{root}/{SITE}/export/events.csv?period=7d")[1]
    for elsewhere in (f"/{OTHER}", f"/{SITE}/shares", "/people", f"/api/v1/stats?site={SITE}&period=7d", "/metrics"):
        assert page(up, root + elsewhere)[0] == 404, elsewhere
    assert fetch(f"{up.dashboards}{root}/sql", b"SELECT 1", FORM)[0] == 404
    listed = footfall("share", "list", "--json", "--data", str(up.data)).stdout.splitlines()
    shares = [json.loads(line) for line in listed]
    assert [bool(share["used"]) for share in shares if share["share"] == "The board"] == [True]
    assert "The board" in page(up, f"/{SITE}/shares")[1]
    command(up, "share", "remove", "The board", "--site", SITE)
    assert page(up, path)[0] == 404
    assert root.removeprefix("/share/") not in up.said()


def test_a_share_with_a_password_asks_for_it(up: Up) -> None:
    made = command(up, "share", "add", "Partners", "--site", SITE, "--password-file", "-", input=PASSWORD)
    root = path_of(made).removesuffix(f"/{SITE}")
    status, text = page(up, f"{root}/{SITE}?period=7d")
    assert (status, "/pricing" in text) == (401, False)
    assert form(up, f"{root}/open", password="not this one")[0] == 401
    sent = urlencode({"password": PASSWORD}).encode()
    status, named, _ = fetch(f"{up.dashboards}{root}/open", sent, FORM)
    cookie = named["set-cookie"].partition(";")[0]
    assert (status, page(up, f"{root}/{SITE}?period=7d", Cookie=cookie)[0]) == (303, 200)


def test_what_cannot_be_is_told(up: Up) -> None:
    for words, said in (
        (("share", "add", "x", "--site", "unknown.example"), "is not counted"),
        (("share", "add", "x", "--site", SITE, "--embed", "intranet"), "is no origin"),
        (("share", "remove", "nothing", "--site", SITE), "has no share"),
    ):
        done = footfall(*words, "--data", str(up.data))
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        expect.set_options(timeout=SHOWN)
        yield opened
        opened.close()


def framed(page: Page, outer: str, address: str) -> FrameLocator:
    """A page elsewhere with a frame of this address, once the frame has loaded or was refused."""
    page.goto(outer)
    page.evaluate(
        """address => new Promise(done => {
            const frame = Object.assign(document.createElement('iframe'), {src: address, width: 1000, height: 900});
            frame.onload = done;
            document.body.append(frame);
        })""",
        address,
    )
    return page.frame_locator("iframe")


@pytest.mark.real
@pytest.mark.slow
def test_pages_of_another_site_show_it_in_a_frame_if_they_may(up: Up, browser: Browser) -> None:
    with serving("") as served:
        port = urlsplit(served).port
        friend, stranger = f"http://localhost:{port}/", served + "/"
        status, _, answer = form(
            up, f"/{OTHER}/shares", deed="add", share="Intranet", days="", password="", origins=friend
        )
        found = re.search(r'&lt;iframe src="([^"]*)"', answer)
        assert status == 200
        assert found is not None
        context = browser.new_context(viewport={"width": 1100, "height": 1000}, color_scheme="light")
        context.set_default_timeout(SHOWN)
        opened = context.new_page()
        address = found[1].replace("theme=system", "theme=dark&period=7d")
        shown = framed(opened, friend, address)
        expect(shown.locator("#figure-pageviews strong")).to_have_text("1")
        expect(shown.locator("#chart canvas")).to_be_visible()
        assert shown.locator("html").evaluate("root => getComputedStyle(root).colorScheme") == "dark"
        assert shown.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(15, 19, 22)"
        shown.get_by_role("link", name="30 days").click()
        expect(shown.get_by_role("link", name="30 days")).to_have_attribute("aria-current", "page")
        assert shown.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(15, 19, 22)"
        up.collect(site=OTHER, url=f"https://{OTHER}/more")
        expect(shown.locator("#figure-pageviews strong")).to_have_text("2")
        assert context.cookies() == []
        for outer, refused in ((stranger, address), (friend, f"{up.dashboards}/{OTHER}")):
            shown = framed(opened, outer, refused)
            assert shown.locator("#board").count() == 0
        context.close()
