"""A real Chromium that opens the pages in `clients/`, served from another origin than the service's."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.patience import patient
from tests.require import require

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", f"--user-agent={CHROME}"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that is no robot by its agent."""
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files, on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def profile(browser: Browser) -> Iterator[Page]:
    """A page of a new profile."""
    context = browser.new_context(user_agent=CHROME)
    context.set_default_timeout(patient(30_000))
    yield context.new_page()
    context.close()
