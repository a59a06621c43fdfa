"""A shop that serves the beacon from its own address, under the strictest policy that the beacon needs.

`/shop/s.js` and `/shop/e` are handed on to a tracking port, as a proxy does; what the browser sent is kept.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.harness import Up, fetch, until

# The beacon needs the first line, the pages the second.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "frame-src 'self'; img-src data:"
)

HOME = """<h1>Shoes</h1>
<button id=tagged data-footfall-event=signup data-footfall-plan=pro data-footfall-seat-count=3><b>Sign up</b></button>
<label id=label data-footfall-event=terms>Terms <input type=checkbox></label>
<a id=out href="//localhost:PORT/elsewhere?from=shop"><i>Partner</i></a>
<a id=file href="/price list.pdf?v=2">Prices</a> <a id=blank href="/pricing" target=_blank>New tab</a>
<form id=find name=find action=/search data-footfall-event=finder><input name=q><button>Find</button></form>
<a id=missing href=/missing>Gone</a> <a id=top href="#top">Top</a>
""" + "<br>" * 200
PAGES = {
    "/": HOME,
    "/pricing": "<h1>Pricing</h1><a href=/>Home</a>",
    "/search": "<h1>Found</h1>",
    "/elsewhere": "Elsewhere<script type=x data-site=OTHERS></script>",  # another product's
    "/price%20list.pdf": "%PDF",
    "/framing": "<iframe sandbox=allow-scripts src=/framed></iframe>",
    "/framed": "Framed",
}

BETWEEN = ("engagement", "web_vital")  # types of what is measured, which comes between the others
# What a walk through the shop amounts to: each browser's test does it.
WALK = [
    ("pageview", "", "/"),
    ("custom", "signup", "/"),
    ("custom", "terms", "/"),
    ("custom", "order", "/"),
    ("outbound", "", "/"),
    ("pageview", "", "/"),
    ("pageview", "", "/pricing"),
    ("download", "", "/"),
    ("custom", "finder", "/"),
    ("form", "find", "/"),
    ("pageview", "", "/search?q=red+shoes"),
    ("pageview", "", "/missing"),
    ("not_found", "404", "/missing"),
]
# A hook of the page, and what of it arrives when it is told `HOOKED`.
HOOK = """function look(event) {
    if (event.name == 'secret') return false
    if (event.name == 'bad') throw new Error('of the page')
    if (event.name == 'other') return {...event, name: 'changed'}
    event.title = 'Hidden'
}"""
HOOKED = """
    const circle = {}
    circle.self = circle
    for (const name of ['secret', 'bad', 'other', 'last']) footfall(name, {circle, big: 1n})"""

_PACKAGE = Path(__file__).parents[2] / "ingest" / "static" / "npm" / "index.js"

Told = tuple[str, str, str]


class Shop:
    """What was asked of it, and how it answers."""

    def __init__(self, tracking: str, site: str, pages: Mapping[str, str], tag: str, script: str) -> None:
        self.tracking = tracking
        self.pages = pages
        self.script = script
        self.code = ""  # of /page.js, which a page loads ahead of the beacon
        self.twice = False  # the tag is in each page twice
        self.ahead = ""  # the page that the browser is told to render ahead
        self.failing: list[int] = []  # statuses of the next answers to events
        self.posts: list[list[dict[str, Any]]] = []  # the events of each request, handed on or not
        self.rendered_ahead: list[str] = []  # paths
        self.address = ""
        self._tag = (
            f'<script src="/page.js"></script><script defer src="/shop/s.js" data-site="{site}" '
            f'data-endpoint="/shop/e" {tag}></script>'
        )

    def events(self, *without: str) -> list[dict[str, Any]]:
        """Each event that was sent, once, in the order of its time; `without` some types."""
        all_sent = [event for post in list(self.posts) for event in post if event["type"] not in without]
        sent = {event.get("id") or json.dumps(event): event for event in all_sent}  # only the queue gives ids
        return sorted(sent.values(), key=lambda event: int(event["ts"]))

    def page(self, path: str) -> tuple[int, bytes]:
        content = self.pages.get(path)
        tag = "" if path == "/elsewhere" else self._tag * (1 + self.twice)
        title = path.strip("/").title() or "Home"
        text = f"<!doctype html><title>{title}</title><link rel=icon href=data:,>{tag}{content or 'Nothing'}"
        return 404 if content is None else 200, text.encode()


@contextmanager
def shop(tracking: str, site: str, pages: Mapping[str, str], tag: str = "", script: str = "all") -> Iterator[Shop]:
    """A shop while it is open; `script` is what the beacon's name has behind the dot."""
    made = Shop(tracking, site, pages, tag, f"beacon.{script}.js" if script else "beacon.js")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            kind = "text/javascript"
            if "prerender" in self.headers.get("Sec-Purpose", ""):
                made.rendered_ahead.append(path)
            if path == "/shop/s.js":
                status, _, body = fetch(f"{tracking}/{made.script}")
            elif path == "/package.js":
                status, body = 200, _PACKAGE.read_bytes()
            elif path == "/page.js":
                status, body = 200, made.code.encode()
            elif path == "/ahead":
                status, body = 200, b"yes" if "/ready" in made.rendered_ahead else b"no"
            elif path == "/ahead.json":
                kind = "application/speculationrules+json"
                rules = {"prerender": [{"source": "list", "urls": [made.ahead], "eagerness": "immediate"}]}
                status, body = 200, json.dumps(rules).encode()
            else:
                kind = "application/octet-stream" if path.endswith(".pdf") else "text/html; charset=utf-8"
                status, body = made.page(path)
            self._answer(status, kind, body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.posts.append(json.loads(body)["events"])
            if made.failing:
                self._answer(made.failing.pop(0), "text/plain", b"")
                return
            agent = {"User-Agent": self.headers["User-Agent"]}
            status, _, answer = fetch(f"{tracking}/collect", body, agent)
            self._answer(status, "application/json", answer)

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("Access-Control-Allow-Origin", "*")
            if made.ahead and kind.startswith("text/html") and self.path != made.ahead:
                self.send_header("Speculation-Rules", '"/ahead.json"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(events: list[dict[str, Any]]) -> list[Told]:
    """Type, name and page of each event."""
    return [(e["type"], e.get("name", ""), "/" + e["url"].split("/", 3)[3]) for e in events]


def stored(up: Up, site: str) -> list[tuple[str, str]]:
    """Type and name of what is stored and was sent by a page, sorted."""
    rows = up.sql(f"SELECT type, name FROM events WHERE site = '{site}' AND NOT (type = 'search' AND name = '')")
    return sorted((row["type"], row["name"]) for row in rows)


def all_arrived(up: Up, site: str, made: Shop) -> None:
    """What the pages sent is stored, each once."""
    until(
        lambda: stored(up, site) == sorted((e["type"], e.get("name", "")) for e in made.events()),
        f"the {len(made.events())} events of {site} are stored",
    )


def sent(made: Shop, count: int, *without: str) -> list[dict[str, Any]]:
    until(lambda: len(made.events(*without)) >= count, f"{count} events are sent")
    return made.events(*without)


def check_walk(made: Shop) -> None:
    """What was done is sent, each once and in order, with all that belongs to it."""
    events = sent(made, len(WALK), *BETWEEN)
    assert told(events) == WALK
    by = {event.get("name") or event["type"]: event for event in events}
    assert by["signup"]["props"] == {"plan": "pro", "seat-count": "3"}
    assert by["order"]["revenue"] == {"amount": "49.90", "currency": "EUR"}
    assert by["outbound"]["props"]["url"].endswith("/elsewhere?from=shop")
    assert by["download"]["props"]["url"].endswith("/price%20list.pdf?v=2")


def check_looked(made: Shop, grown: int = 1) -> None:
    """The first page was looked at for more than a second, down to its end; then it had `grown` so many times."""
    looked = [event for event in made.events() if event["type"] == "engagement"]
    assert looked[0]["url"] == f"{made.address}/"
    assert 1_000 <= looked[0]["engaged_ms"] < 60_000
    assert 90 <= looked[0]["props"]["scroll"] * grown <= 100


def check_hooked(events: list[dict[str, Any]]) -> None:
    """What the hook made of a page view and of what `HOOKED` told."""
    assert [event.get("name", "") for event in events] == ["", "bad", "changed", "last"]
    assert events[0]["title"] == "Hidden"
    assert events[-1]["props"] == {"circle": "[object Object]", "big": "1"}
