"""A small web site for browsers to visit, with whatever snippet is pasted into its pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PAGES = {
    "/": """<h1>Shoes</h1>
<button onclick="history.pushState({}, '', '/about'); document.title = 'About'">About</button>
<a href="/pricing">Pricing</a>""",
    "/pricing": """<h1>Pricing</h1>
<button onclick="footfall('signup', {plan: 'pro', seats: 3})">Sign up</button>
<form action="/search"><input name="q" aria-label="Search"><button>Find</button></form>""",
    "/search": "<h1>Found</h1><a href='/'>Home</a>",
}


@contextmanager
def serving(snippet: str) -> Iterator[str]:
    """The address of the site, without a slash, while it is served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = _PAGES.get(self.path.partition("?")[0])
            title = self.path.strip("/").partition("?")[0].title() or "Home"
            page = f"<!doctype html><title>{title}</title><link rel=icon href=data:,>{snippet}{content}".encode()
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
