"""GoatCounter's requests, as its documentation has them for pages and servers, against the service."""

from __future__ import annotations

from urllib.parse import urlencode

from tests.ingest.conftest import Log, Running
from tests.trackers.conftest import IDS, SECRET
from tests.trackers.letters import judged, letter_of

COUNT = f"/count/{IDS['goatcounter']}?"
VIEW = {"p": "/shop", "r": "https://search.example/", "t": "Shop", "e": "false", "s": "1920,1080,1", "rnd": "x1y2z"}
KEY = {"Authorization": f"Bearer {SECRET}"}


def test_a_view_a_search_and_a_click_of_a_page(server: Running, log: Log) -> None:
    for more in ({"q": "?utm_source=letter"}, {"p": "/find", "q": "?q=red+hat"}, {"p": "buy", "e": "true"}):
        answer = server.get(COUNT + urlencode({**VIEW, **more}))
        assert (answer.status, answer.headers["content-type"], answer.body[:6]) == (200, "image/gif", b"GIF89a")
    shop, find = sorted(log.events(), key=lambda event: event["path"], reverse=True)
    (search,) = log.events("footfall.search")
    (click,) = log.events("footfall.custom")
    assert (shop["url"], shop["source"]) == ("https://example.com/shop?utm_source=letter", "letter")
    assert (shop["title"], shop["screen"]) == ("Shop", "1920x1080")
    assert (find["path"], search["term"]) == ("/find", "red hat")
    assert (click["type"], click["name"]) == ("custom", "buy")
    assert len({event["visitor"] for event in (shop, find, search, click)}) == 1


def test_send_beacon_and_the_site_by_the_page(server: Running, log: Log) -> None:
    answer = server.post(b"", {"Origin": "https://example.com"}, "/count?" + urlencode(VIEW))
    assert answer.status == 200
    assert server.get("/compat/goatcounter/count?p=/b", {"Referer": "https://www.example.com/b"}).status == 200
    assert sorted(event["path"] for event in log.events()) == ["/b", "/shop"]


def test_hits_of_a_server_count_once_with_their_visitor_and_time(server: Running, log: Log) -> None:
    hit = {"path": "/a", "ip": "192.0.2.9", "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    hits = [{**hit, "created_at": "2023-11-14T22:13:20Z"}, {**hit, "path": "buy", "event": True, "session": "v"}]
    for _ in range(2):
        answer = server.post({"hits": hits}, KEY, "/api/v0/count")
        assert (answer.status, answer.json()) == (202, {"status": "ok"})
    views = log.events()
    assert len({event["id"] for event in views}) == 1
    assert (views[0]["occurred_at"], views[0]["browser"]) == (1_700_000_000_000, "Firefox")


def test_what_cannot_be_counted_is_answered_as_by_goatcounter(server: Running, log: Log) -> None:
    robot = server.get(COUNT + urlencode({**VIEW, "b": "153"}))
    assert (robot.status, robot.body[:3]) == (202, b"GIF")
    assert "robot" in robot.headers["x-goatcounter"]
    assert server.get("/count?p=/a").status == 202
    assert server.post({"hits": [{"path": "/a"}]}, {"Authorization": "Bearer nobodys"}, "/api/v0/count").status == 403
    assert not log.events()
    assert not log.records("footfall.dead-letter")


def test_one_bad_hit_is_mended(server: Running, log: Log) -> None:
    answer = server.post({"hits": [{"path": "/a"}, {"pth": "/b"}]}, KEY, "/api/v0/count")
    assert (answer.status, set(answer.json()["errors"])) == (400, {"1"})
    letter = letter_of(log)
    assert letter.site == "example.com"
    again = judged(server, letter, letter.received.replace(b"pth", b"path"))
    assert (again.refused, len(again.events)) == ([], 2)
    (stored,) = log.events()
    assert stored["id"] in {event.id for event in again.events}
