"""The README's picture is the real page with the demo's visitors. FOOTFALL_TEST_PICTURE=1 takes it anew."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, Up, until
from tests.require import require

PICTURE = ROOT / "docs" / "page.png"


@pytest.mark.real
@pytest.mark.slow
def test_the_demo_page_is_a_picture_for_the_readme(start: Callable[..., Up], tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    require("chromium", chromium is not None, "apt-get install chromium")
    up = start("--demo").wait_ready()
    # The first live visitor comes when the week before is complete.
    until(lambda: json.loads(up.get("/localhost/now")[1])["current"] > 0, "somebody is there now")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000}, device_scale_factor=1)
        page.goto(f"{up.ready['dashboards']}/localhost?period=7d", wait_until="networkidle")
        taken = page.screenshot(path=tmp_path / "page.png")
        assert page.locator("canvas").count() > 0
        browser.close()
    assert len(taken) > 20_000
    if os.environ.get("FOOTFALL_TEST_PICTURE"):
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_bytes(taken)
    assert PICTURE.exists()
