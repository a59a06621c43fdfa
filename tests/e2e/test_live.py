"""The stream of what happens now, over a running `footfall up`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import SITE, Up, fetch, footfall, running
from tests.e2e.watching import Watcher

pytestmark = pytest.mark.slow

CROWD = 200
TOKEN = "a token of the settings, long enough"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("live")
    with running(folder / "data", "--site", SITE, env={"FOOTFALL_DASHBOARDS_TOKEN": TOKEN}) as started:
        yield started


Watch = Callable[..., Watcher]


@pytest.fixture
def watch() -> Iterator[Watch]:
    opened: list[Watcher] = []

    def begin(up: Up, secret: str = TOKEN, **headers: str) -> Watcher:
        headers |= {"Authorization": f"Bearer {secret}"}
        opened.append(Watcher(f"{up.dashboards}/{SITE}/live/stream", headers))
        return opened[-1]

    yield begin
    for watcher in opened:
        watcher.close()


def test_an_event_is_told_to_everybody_who_watches_and_the_pages_answer(up: Up, watch: Watch) -> None:
    crowd = [watch(up) for _ in range(CROWD)]
    assert all(watcher.next() for watcher in crowd)
    up.collect(url=f"https://{SITE}/for-the-crowd")
    for watcher in crowd:
        watcher.until("/for-the-crowd")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path in (f"/{SITE}", f"/{SITE}/live", f"/{SITE}/visits", f"/api/v1/realtime?site={SITE}", "/ready"):
        assert fetch(up.dashboards + path, None, bearer)[0] == 200, path
    found = json.loads(fetch(f"{up.dashboards}/api/v1/realtime?site={SITE}", None, bearer)[2])
    assert found["visitors"] == 1
    assert [event["path"] for event in found["events"]] == ["/for-the-crowd"]
    assert set(found["events"][0]) == {"time", "type", "path", "name", "term", "country", "browser", "device"}


def test_who_comes_back_goes_on(up: Up, watch: Watch) -> None:
    first = watch(up)
    event = first.next()
    first.close()
    assert event is not None
    again = watch(up, **{"Last-Event-ID": event.id})
    up.collect(url=f"https://{SITE}/later")
    assert again.until("/later").id != event.id


def test_a_token_that_is_withdrawn_watches_no_longer(up: Up, watch: Watch) -> None:
    def command(*words: str) -> str:
        done = footfall(*words, "--data", str(up.data), "--json")
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = json.loads(command("token", "add", "wall", "--scope", "read", "--site", SITE))
    assert watch(up, "nonsense").status == 401
    wall, mine = watch(up, made["secret"]), watch(up)
    assert wall.next()
    command("token", "remove", "wall")
    wall.rest()  # it ends
    assert watch(up, made["secret"]).status == 401
    up.collect(url=f"https://{SITE}/after-the-wall")
    mine.until("/after-the-wall")


def test_a_stop_waits_for_nobody_who_watches(tmp_path: Path, watch: Watch) -> None:
    with running(tmp_path / "data", "--site", SITE) as up:
        crowd = [watch(up) for _ in range(20)]
        assert all(watcher.next() for watcher in crowd)
        assert up.stop() == 0
        assert [watcher.rest() for watcher in crowd] == [b""] * 20
        assert "did not finish" not in up.said()
