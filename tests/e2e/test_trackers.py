"""The clients of other trackers, pointed at a running `up`: what each sends stands on the page of its site."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser

from tests.e2e.harness import Up, fetch, running
from tests.trackers import browsing
from tests.trackers.conftest import CLIENTS, browser, node_modules, run_client, site

__all__ = ["browser", "node_modules", "site"]  # fixtures


class Client(NamedTuple):
    """A vendor's client, the arguments behind its URL, what the sites file has for it, and its numbers."""

    script: str
    arguments: tuple[str, ...]
    sites_file: str
    numbers: dict[str, int]


def secret(name: str) -> str:
    return f"secret-write-key-of-{name}"


def client(name: str, script: str, *arguments: str, ids: str = "", pageviews: int = 1) -> tuple[str, Client]:
    """By its site. Each sends one visit with one search, and identifies its visitor as its protocol does."""
    domain = f"{name}.example"
    entry = f'[[site]]\ndomain = "{domain}"\nwrite_keys = ["{secret(name)}"]\nids = {[ids] if ids else []}\n'
    numbers = {"visitors": 1, "visits": 1, "pageviews": pageviews, "searches": 1}
    return domain, Client(script, arguments, entry, numbers)


UMAMI, OPENPANEL = "94db1cb1-74f4-4a40-ad6c-962362670409", "3f1c2a9e-0000-4a40-ad6c-962362670409"
CLIENTS_OF = dict([
    client("segment-python", "segment_python.py", secret("segment-python")),
    client("segment-node", "segment_node.mjs", secret("segment-node")),
    client("rudder-python", "rudder_python.py", secret("rudder-python")),
    client("rudder-node", "rudder_node.mjs", secret("rudder-node")),
    client("posthog-python", "posthog_python.py", "phc_python", ids="phc_python"),
    client("posthog-browser", "posthog.html", "phc_browser", ids="phc_browser"),
    client("snowplow-python", "snowplow.py", "shop-app", ids="snowplow:shop-app"),
    client("snowplow-browser", "snowplow.html", "shop-web", ids="snowplow:shop-web"),
    client("plausible", "plausible.html", "plausible.example", pageviews=2),
    client("umami", "umami.py", UMAMI, secret("umami"), ids=UMAMI),
    client("matomo", "matomo.mjs", "7", ids="matomo:7"),
    client("ga4", "ga4.py", "G-ABCDEF1234", secret("ga4"), ids="G-ABCDEF1234"),
    client("openpanel", "openpanel.mjs", OPENPANEL, secret("openpanel"), ids=OPENPANEL),
    client("goatcounter", "goatcounter.html", "shop-code", ids="goatcounter:shop-code", pageviews=2),
])  # fmt: skip


# A page view of a visitor, always under the same id, by the protocols of which an event has one: its path and body.
SAME: dict[str, Callable[[str, str], tuple[str, object]]] = {
    "segment": lambda who, page: (
        "/v1/page",
        {"writeKey": "same", "messageId": "m-1", "anonymousId": who, "properties": {"url": page}},
    ),
    "posthog": lambda who, page: (
        "/e/?token=same",
        {"uuid": "u-1", "event": "$pageview", "distinct_id": who, "properties": {"$current_url": page}},
    ),
    "snowplow": lambda who, page: (
        "/com.snowplowanalytics.snowplow/tp2",
        {"schema": "", "data": [{"e": "pv", "aid": "same", "eid": "e-1", "duid": who, "url": page}]},
    ),
    "matomo": lambda who, page: (
        f"/matomo.php?{urlencode({'idsite': 'same', 'rec': 1, '_id': who, 'rand': 7, 'pv_id': 'a1b2c3', 'url': page})}",
        None,
    ),
    "ga4": lambda who, page: (
        f"/g/collect?{urlencode({'v': 2, 'tid': 'same', 'cid': who, '_p': 7, '_s': 1, 'en': 'page_view', 'dl': page})}",
        None,
    ),
}


PAGE = "https://paths.example/a"
SCREEN = {"name": "screen_view", "properties": {"__path": "/a"}}
SEVERAL_PARTS = b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n%s\r\n--b--\r\n' % json.dumps(
    {"token": "paths", "event": "$pageview", "distinct_id": "a", "properties": {"$current_url": PAGE}}
).encode()
# A page view by each path that newer or older clients have, or that is spelt a little off: its body and header.
PATHS: dict[str, tuple[object, dict[str, str]]] = {
    "//v1/page": ({"writeKey": "paths", "anonymousId": "a", "properties": {"url": PAGE}}, {}),
    f"/api/px/page?{urlencode({'writeKey': 'paths:x', 'properties.url': PAGE})}": (None, {}),
    "/track": ({"type": "batch", "payload": [{"type": "track", "payload": SCREEN}]}, {"openpanel-client-id": "paths"}),
    "/event": (SCREEN, {"openpanel-client-id": "paths"}),
    "/api/collect": ({"type": "pageview", "payload": {"website": "paths", "url": "/a"}}, {}),
    f"/ice.png?{urlencode({'e': 'pv', 'aid': 'paths', 'url': PAGE})}": (None, {}),
    "/api/v1/event?token=paths": ({"event_type": "pageview", "eventn_ctx": {"url": PAGE, "user": {}}}, {}),
    f"/matomo/matomo.php?{urlencode({'idsite': 'paths', 'rec': 1, 'url': PAGE})}": (None, {}),
    "/e/": (SEVERAL_PARTS, {"content-type": "multipart/form-data; boundary=b"}),
    f"/i?{urlencode({'e': 'pv', 'aid': 'paths', 'page': 'A'})}": (None, {}),
    f"/js/?{urlencode({'idsite': 'paths', 'rec': 1, 'url': PAGE})}": (None, {}),
    "/api/event": ({"name": "pageview", "domain": "paths.example", "url": "app://localhost/a"}, {}),
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("trackers") / "data"
    data.mkdir()
    colliding = [f'[[site]]\ndomain = "{name}.same.example"\nids = ["{name}:same"]\n' for name in SAME]
    colliding.append('[[site]]\ndomain = "paths.example"\nids = ["paths"]\n')
    (data / "sites.toml").write_text("\n".join([*(each.sites_file for each in CLIENTS_OF.values()), *colliding]))
    with running(data) as started:
        yield started


def test_what_each_client_sends_stands_on_the_page(up: Up, site: str, browser: Browser, node_modules: Path) -> None:
    assert node_modules.parent == CLIENTS
    for domain, client in CLIENTS_OF.items():
        if client.script.endswith(".html"):
            with browsing.profile(browser) as page:
                page.goto(f"{site}/{client.script}?url={up.tracking}&key={client.arguments[0]}")
                up.shows(client.numbers, site=domain)
        else:
            run_client(client.script, up.tracking, *client.arguments)
    for domain, client in CLIENTS_OF.items():
        up.shows(client.numbers, site=domain)


def test_an_id_that_two_events_have_by_accident_makes_them_no_duplicate(up: Up) -> None:
    """What is sent again is the same event of the same visitor, whatever came under its id between."""
    for name, event in SAME.items():
        home, prices = f"https://{name}.same.example/", f"https://{name}.same.example/pricing"
        for who, page in (("ann", home), ("ann", home), ("bob", home), ("bob", prices), ("ann", home), ("bob", home)):
            path, body = event(who, page)
            sent = b"" if body is None else json.dumps(body).encode()
            status, headers, answer = fetch(up.tracking + path, sent)
            assert (status, headers.get("x-footfall-refused")) in ((200, None), (204, None)), (name, answer)
    for name in SAME:
        up.shows({"visitors": 2, "visits": 2, "pageviews": 3}, site=f"{name}.same.example")


def test_the_paths_of_newer_and_older_clients_are_answered(up: Up) -> None:
    for path, (body, headers) in PATHS.items():
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        status, named, answer = fetch(up.tracking + path, sent, headers)
        assert (status in (200, 202), named.get("x-footfall-refused")) == (True, None), (path, answer)
    up.shows({"pageviews": len(PATHS)}, site="paths.example")
