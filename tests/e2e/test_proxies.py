"""The beacon from a site's own address, by the proxies of docs/beacon.md: each recipe is run as it stands there.

Between proxy and tracking port is one more hop, which notes what the proxy sends and changes nothing.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import jsonschema
import pytest
from playwright.sync_api import Browser

from tests.e2e.harness import AGENT, PATIENCE, ROOT, Up, fetch, running, until
from tests.e2e.shop import stored
from tests.require import require
from tests.servers import proxies
from tests.servers.process import free_port
from tests.trackers import browsing
from tests.trackers.proxy import Proxy

pytestmark = [pytest.mark.real, pytest.mark.slow]

_TEXT = (ROOT / "docs" / "beacon.md").read_text(encoding="utf-8").partition("## From your own address")[2]
TAG, *_FENCES = re.findall(r"^```\w*\n(.*?)^```", _TEXT, re.DOTALL | re.MULTILINE)
RECIPES = dict(zip(("nginx", "caddy", "cloudflare", "vercel", "behind vercel"), _FENCES, strict=True))
Begin = Callable[[Path, str, int, str], list[str]]
START: dict[str, Begin] = {"nginx": proxies.nginx, "caddy": proxies.caddy, "cloudflare": proxies.cloudflare}
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:"
VISITOR, ANOTHER = "127.0.0.2", "127.0.0.3"  # addresses of this machine that are no proxy's


class Front(NamedTuple):
    """A proxy that runs, and what it sent on."""

    name: str
    address: str
    behind: Proxy

    @property
    def site(self) -> str:
        return f"{self.name}.example"

    def edge(self, address: str) -> dict[str, str]:
        """What is on a request from this address when it comes to the proxy."""
        return {"CF-Connecting-IP": address} if self.name == "cloudflare" else {}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    sites = [word for name in (*START, "vercel") for word in ("--site", f"{name}.example")]
    with running(tmp_path_factory.mktemp("proxies") / "data", "--proxies", "127.0.0.1", *sites) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing.chromium() as opened:
        yield opened


@contextmanager
def run(name: str, up: Up, folder: Path, begin: Begin, path: str) -> Iterator[Front]:
    """A proxy by the recipe of this name, once it hands on a GET of the path."""
    tracking, port = urlsplit(up.tracking).port, free_port()
    assert tracking is not None
    behind = Proxy(tracking)
    line = begin(folder, RECIPES[name], port, f"127.0.0.1:{behind.port}")
    made = Front(name, f"http://127.0.0.1:{port}", behind)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return fetch(f"{made.address}{path}")[0] == 200
        except OSError:
            return False

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(line, cwd=folder, stdout=log, stderr=log)
    try:
        until(answers, f"{name} hands on the script")
        yield made
    finally:
        process.terminate()
        process.wait(PATIENCE)
        behind.close()


@pytest.fixture(scope="module", params=START)
def front(request: pytest.FixtureRequest, up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    missing = proxies.available(request.param)
    require(request.param, not missing, missing)
    with run(request.param, up, tmp_path_factory.mktemp("proxy"), START[request.param], "/shop/s.js") as made:
        yield made


def send(address: str, site: str, name: str, source: str, headers: dict[str, str]) -> None:
    """Send an event from an address of this machine."""
    target = urlsplit(address)
    assert target.hostname
    event = {"site": site, "type": "custom", "name": name, "url": f"https://{site}/"}
    connection = http.client.HTTPConnection(target.hostname, target.port, PATIENCE, source_address=(source, 0))
    try:
        connection.request("POST", target.path, json.dumps(event).encode(), {"User-Agent": AGENT, **headers})
        assert connection.getresponse().status == 202
    finally:
        connection.close()


def test_a_visit_in_a_browser_is_told_below_the_sites_own_name(up: Up, front: Front, browser: Browser) -> None:
    front.behind.passed.clear()
    html = f"<!doctype html><title>Home</title>{TAG.replace('example.com', front.site)}<p>Shoes"
    headers = {"Content-Type": "text/html", "Content-Security-Policy": POLICY, "Set-Cookie": "session=secret; Path=/"}
    refused = list[str]()
    with browsing.profile(browser) as page:
        page.on("console", lambda said: refused.append(said.text) if "Security Policy" in said.text else None)
        page.route(f"{front.address}/", lambda route: route.fulfill(status=200, headers=headers, body=html))
        page.goto(f"{front.address}/")
        page.evaluate("footfall('signup')")
        until(lambda: stored(up, front.site) == [("custom", "signup"), ("pageview", "")], "both events are stored")
        assert [cookie.get("value") for cookie in page.context.cookies()] == ["secret"]
    assert not refused
    assert {passed.path for passed in front.behind.passed} == {"/beacon.all.js", "/collect"}
    assert not any("cookie" in passed.headers for passed in front.behind.passed)


def test_the_visitors_address_arrives_whatever_the_visitor_says(up: Up, front: Front) -> None:
    def tell(address: str, source: str, said: str, name: str) -> None:
        send(address, front.site, name, source, {"X-Forwarded-For": said, **front.edge(source)})

    tell(f"{up.tracking}/collect", VISITOR, "192.0.2.1", "one")
    for said in ("192.0.2.1", "192.0.2.2", f"{ANOTHER}, 127.0.0.1"):
        tell(f"{front.address}/shop/e", VISITOR, said, "one")
    tell(f"{front.address}/shop/e", ANOTHER, VISITOR, "another")
    two_visitors(up, front.site, 5)


def two_visitors(up: Up, site: str, events: int) -> None:
    """Of so many events, those named "one" are one visitor's, and those named "another" another's."""
    rows = f"SELECT name, visitor FROM events WHERE site = '{site}' AND name IN ('one', 'another')"
    until(lambda: len(up.sql(rows)) == events, "all are stored")
    pairs = {(row["name"], row["visitor"]) for row in up.sql(rows)}
    assert sorted(name for name, _ in pairs) == ["another", "one"]
    assert len({visitor for _, visitor in pairs}) == 2


@pytest.mark.parametrize("coding", ["br", "gzip", "identity"])
def test_the_script_comes_as_it_is_packed_and_is_kept_as_long(up: Up, front: Front, coding: str) -> None:
    accepted = {"Accept-Encoding": coding}
    direct = fetch(f"{up.tracking}/beacon.all.js", headers=accepted)
    proxied = fetch(f"{front.address}/shop/s.js", headers=accepted)
    assert (proxied[0], proxied[2]) == (direct[0], direct[2])
    kept = ("content-encoding", "content-type", "cache-control", "etag", "vary")
    assert [proxied[1].get(name) for name in kept] == [direct[1].get(name) for name in kept]
    assert direct[1].get("content-encoding", "identity") == coding
    again = fetch(f"{front.address}/shop/s.js", headers={**accepted, "If-None-Match": direct[1]["etag"]})
    assert (again[0], again[2]) == (304, b"")


def test_nothing_else_is_handed_on(front: Front) -> None:
    front.behind.passed.clear()
    for path in ("/", "/shop/", "/shop/e/", "/shop/ex", "/collect", "/metrics", "/shop/../metrics"):
        fetch(f"{front.address}{path}")
    assert front.behind.passed == []


def test_vercel_makes_of_the_recipe_what_it_says() -> None:
    compiled = proxies.vercel(RECIPES["vercel"])
    jsonschema.validate(json.loads(RECIPES["vercel"])["routes"], compiled["schema"])
    assert compiled["error"] is None

    def goes_to(path: str) -> list[str]:
        return [route["dest"] for route in compiled["routes"] if re.search(route["src"], path)]

    assert goes_to("/shop/s.js") == ["https://stats.example.com/beacon.all.js"]
    assert goes_to("/shop/e") == ["https://stats.example.com/collect"]
    assert [goes_to(path) for path in ("/shop/s-js", "/shop/e/more", "/a/shop/e", "/shop/", "/")] == [[]] * 5
    for route in compiled["routes"]:
        assert {"type": "request.headers", "op": "delete", "target": {"key": "cookie"}} in route["transforms"]


def test_behind_vercel_only_who_has_the_secret_names_the_visitor(up: Up, tmp_path: Path) -> None:
    require("nginx", not proxies.available("nginx"), proxies.available("nginx"))
    with run("behind vercel", up, tmp_path, proxies.nginx, "/live") as front:
        address = f"{front.address}/collect"
        send(f"{up.tracking}/collect", "vercel.example", "one", VISITOR, {})
        vouched = {"X-Forwarded-For": VISITOR, "X-Shop": "a-long-random-secret"}
        send(address, "vercel.example", "one", "127.0.0.1", vouched)
        send(f"{up.tracking}/collect", "vercel.example", "another", ANOTHER, {})
        for headers in ({}, {"X-Shop": ""}, {"X-Shop": "a guess"}, {"X-Shop": "A-long-random-secret"}):
            send(address, "vercel.example", "another", ANOTHER, {"X-Forwarded-For": VISITOR, **headers})
        assert not any(passed.headers.get("x-shop") for passed in front.behind.passed)
    two_visitors(up, "vercel.example", 7)
