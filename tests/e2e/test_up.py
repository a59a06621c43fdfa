"""`footfall up` as a user meets it: what it prints and where it writes, how it ends, and what the next start has.

How its processes live and die together is in `tests/infra/processes/test_up.py`.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import AGENT, PATIENCE, SITE, Up, environment, fetch, footfall, until

pytestmark = pytest.mark.slow


def test_it_prints_what_to_paste_and_where_to_look_and_writes_in_one_folder(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    up = start("--site", SITE, as_json=False, env={"HOME": str(home)})
    until(lambda: "Ctrl-C stops" in up.said() or up.process.poll() is not None, "it says that it runs")
    board = re.search(r"Dashboards +(http://127\.0\.0\.1:\d+/example\.com)$", up.said(), re.MULTILINE)
    snippet = re.search(r'<script defer data-site="example\.com" src="(\S+)"></script>', up.said())
    assert board, up.said()
    assert snippet, up.said()
    assert str(up.data) in up.said()

    status, headers, script = fetch(snippet[1])
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/javascript")
    assert b"collect" in script
    status, _, page = fetch(board[1])
    assert status == 200
    assert snippet[0] in page.decode().replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"')
    for address in (snippet[1], board[1]):
        port = urlsplit(address).netloc
        for probe in ("/live", "/ready", "/metrics"):
            assert fetch(f"http://{port}{probe}")[0] == 200, probe

    second = footfall("up", "--data", str(up.data), "--port", "0", "--dashboards-port", "0")
    assert second.returncode == 1
    assert f"process {up.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert up.stop(signal.SIGINT) == 0
    assert "draining" in up.said()
    assert "Traceback" not in up.said()
    assert [*home.rglob("*"), *here.rglob("*")] == []


class Sender(threading.Thread):
    """A browser that keeps its connection: page views of its own paths, one after the other, until told or refused."""

    def __init__(self, up: Up, number: int) -> None:
        super().__init__()
        self.number = number
        self.accepted: list[dict[str, Any]] = []
        self.unanswered: list[dict[str, Any]] = []
        self.cut: list[str] = []
        self.stopped = threading.Event()
        self._address = urlsplit(up.tracking)

    def run(self) -> None:
        connection = self._connect()
        count = 0
        while not self.stopped.is_set():
            path = f"/{self.number}/{count}"
            event = {"site": SITE, "type": "pageview", "url": f"https://{SITE}{path}", "id": path}
            try:
                connection.request("POST", "/collect", json.dumps(event), {"User-Agent": AGENT})
            except OSError:
                # Between two requests the server may close a kept connection; a browser opens another.
                connection.close()
                connection = self._connect()
                try:
                    connection.request("POST", "/collect", json.dumps(event), {"User-Agent": AGENT})
                except ConnectionRefusedError:
                    break
            try:
                response = connection.getresponse()
                answer = json.load(response)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.unanswered.append(event)
                self.cut.append(repr(error))
                break
            assert (response.status, answer["accepted"]) == (202, 1), answer
            self.accepted.append(event)
            count += 1
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=PATIENCE)


def load(up: Up) -> list[Sender]:
    """Four browsers, well under way."""
    senders = [Sender(up, number) for number in range(4)]
    for sender in senders:
        sender.start()
    until(lambda: sum(len(sender.accepted) for sender in senders) > 200, "there is load")
    return senders


def join(senders: list[Sender]) -> None:
    for sender in senders:
        sender.stopped.set()
    for sender in senders:
        sender.join()


def counted(up: Up) -> set[str]:
    return {row["path"] for row in up.sql("SELECT path FROM events WHERE type = 'pageview'")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_under_load_on_kept_connections_loses_nothing(start: Start, number: signal.Signals) -> None:
    up = start("--site", SITE).wait_ready()
    senders = load(up)
    assert up.stop(number) == 0
    join(senders)
    sent = {event["id"] for sender in senders for event in sender.accepted}
    again = start().wait_ready()
    until(lambda: again.stats()["pageviews"] >= len(sent), "all that was accepted is in the numbers")
    unsure = {event["id"] for sender in senders for event in sender.unanswered}
    assert sent <= counted(again) <= sent | unsure
    assert [reason for sender in senders for reason in sender.cut] == []


def test_killed_under_load_what_was_answered_is_there_and_what_was_not_can_be_sent_again(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    senders = load(up)
    up.kill()
    join(senders)
    accepted = [event for sender in senders for event in sender.accepted]
    unanswered = [event for sender in senders for event in sender.unanswered]
    again = start().wait_ready()
    until(lambda: again.stats()["pageviews"] >= len(accepted), "all that was accepted is in the numbers")
    if unanswered:
        again.send(unanswered)
    again.send(accepted[-50:])
    paths = {event["id"] for event in accepted + unanswered}
    until(lambda: counted(again) == paths, "all that was sent is there")
    again.collect(url=f"https://{SITE}/last")
    until(lambda: "/last" in counted(again), "what came last is there too")
    numbers = again.stats()
    assert (numbers["pageviews"], numbers["visitors"], numbers["visits"]) == (len(paths) + 1, 1, 1)
    assert again.sql("SELECT count() AS rows, uniqExact(id) AS ids FROM events") == [
        {"rows": len(paths) + 1, "ids": len(paths) + 1}
    ]


def test_a_visitor_stays_the_same_in_the_same_open_visit_across_restarts(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    up.collect(url=f"https://{SITE}/first", referrer="https://duckduckgo.com/")
    until(lambda: up.stats()["visits"] == 1, "the visit has begun")
    before = up.sql("SELECT visitor, session_id, started_at FROM sessions")
    up.stop(signal.SIGINT)

    up = start().wait_ready()
    up.collect(url=f"https://{SITE}/second")
    until(lambda: up.stats()["pageviews"] == 2, "the second page is counted")
    up.kill_parent()

    up = start().wait_ready()
    up.collect(url=f"https://{SITE}/third")
    until(lambda: up.stats()["pageviews"] == 3, "the third page is counted")
    numbers = up.stats()
    assert (numbers["visitors"], numbers["visits"], numbers["bounce_rate"]) == (1, 1, 0)
    assert up.sql("SELECT visitor, session_id, started_at FROM sessions") == before
    assert up.sql("SELECT pageviews, entry_page, exit_page, source FROM sessions") == [
        {"pageviews": 3, "entry_page": "/first", "exit_page": "/third", "source": "duckduckgo.com"}
    ]


def test_settings_of_the_environment_are_those_of_the_flags(tmp_path: Path) -> None:
    wrong = {"FOOTFALL_DATA": str(tmp_path), "FOOTFALL_PORT": "x", "FOOTFALL_BROKR": "memory://"}
    assert "FOOTFALL_DATA" not in environment()
    told = footfall("up", env=wrong)
    assert told.returncode == 2
    assert "FOOTFALL_PORT" in told.stderr
    assert "did you mean FOOTFALL_BROKER?" in told.stderr
    assert list(tmp_path.iterdir()) == []
