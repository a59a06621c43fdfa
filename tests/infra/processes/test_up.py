"""`footfall up` lives and dies as one, and nothing that it accepted is lost on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.infra.conftest import SITE, Up, footfall, until

pytestmark = pytest.mark.slow

Start = Callable[..., Up]


def test_it_says_where_it_is_and_takes_events_that_the_page_shows(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    assert f'data-site="{SITE}"' in up.ready["snippet"]
    assert up.get("/ready")[0] == 200
    assert up.collect(url=f"https://{SITE}/a?q=shoes") == {"accepted": 1, "duplicates": 0, "refused": []}
    # One batch may hold the page view and the next its search: two topics are read one after the other.
    numbers = until(lambda: (found := up.stats())["pageviews"] and found["searches"] and found, "both are on the page")
    assert (numbers["visitors"], numbers["pageviews"], numbers["searches"]) == (1, 1, 1)


def test_without_a_site_localhost_is_counted(start: Start) -> None:
    up = start().wait_ready()
    assert up.ready["site"] == "localhost"
    assert up.collect(site="localhost", url="http://localhost:3000/")["accepted"] == 1


def test_a_second_one_says_who_holds_the_folder(start: Start, tmp_path: Path) -> None:
    up = start().wait_ready()
    second = footfall("up", "--data", str(up.data), "--port", "0", "--dashboards-port", "0")
    assert second.returncode == 1
    assert f"process {up.process.pid}" in second.stderr
    assert "since" in second.stderr


def test_a_busy_port_is_told_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = footfall("up", "--data", str(tmp_path / "data"), "--port", str(port), "--dashboards-port", "0")
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert "--port" in done.stderr


def test_wrong_settings_are_told_all_at_once(tmp_path: Path) -> None:
    done = footfall("up", "--data", str(tmp_path), "--port", "x", "--broker", "kafka")
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "--broker" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_under_load_cuts_no_request_and_loses_nothing(start: Start, number: signal.Signals) -> None:
    up = start("--site", SITE).wait_ready()
    accepted: list[str] = []
    cut: list[str] = []
    stop = threading.Event()

    def send(sender: int) -> None:
        count = 0
        while not stop.is_set():
            try:
                up.collect(url=f"https://{SITE}/{sender}/{count}", id=f"{sender}-{count}")
                accepted.append(f"{sender}-{count}")
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionRefusedError):
                    cut.append(repr(error))
                return
            except OSError as error:
                cut.append(repr(error))
                return
            count += 1

    senders = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in senders:
        thread.start()
    until(lambda: len(accepted) > 100, "there is load")
    assert up.signal_group(number) == 0
    stop.set()
    for thread in senders:
        thread.join()
    assert up.group() == []
    assert cut == []
    again = start().wait_ready()
    until(lambda: again.stats()["pageviews"] == len(accepted), "all that was accepted is in the numbers")


def test_killed_alone_the_parent_takes_everything_along_and_the_next_start_has_every_event(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    for n in range(50):
        up.collect(url=f"https://{SITE}/{n}")
    os.kill(up.process.pid, signal.SIGKILL)
    up.process.wait()
    until(lambda: not up.group(), "nothing of it is left")
    again = start().wait_ready()
    until(lambda: again.stats()["pageviews"] == 50, "every accepted event is in the numbers")
    assert again.stats()["visits"] == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("role", ["tracking", "core"])
def test_a_process_that_dies_is_replaced_and_events_go_on(start: Start, role: str, how: signal.Signals) -> None:
    up = start("--site", SITE).wait_ready()
    up.collect(url=f"https://{SITE}/before")
    victims = [
        pid for pid in up.group() if pid != up.process.pid and f"infra.processes\0{role}" in _command_line(pid)
    ]
    for pid in victims:
        os.kill(pid, how)
    until(lambda: f"{role} ended" in up.said(), "the supervisor noticed")
    assert up.collect(url=f"https://{SITE}/after")["accepted"] == 1
    until(lambda: up.stats()["pageviews"] == 2, "both are in the numbers")


def test_the_control_port_is_for_those_who_can_read_the_folder(start: Start) -> None:
    up = start().wait_ready()
    owner = up.data / "owner.json"
    assert owner.stat().st_mode & 0o077 == 0
    request = urllib.request.Request(up.ready["dashboards"] + "/control/sql", b"{}", {"Authorization": "Bearer x"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 401
    refused.value.close()


def test_a_command_may_send_more_than_a_page_may(start: Start, tmp_path: Path) -> None:
    """An import asks which of its events are stored, by their keys."""
    up = start("--site", SITE).wait_ready()
    day = datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1_000
    log = tmp_path / "events.jsonl"
    log.write_text(
        "".join(
            json.dumps({"type": "pageview", "url": f"https://{SITE}/", "visitor": f"v{n}", "ts": day + n}) + "\n"
            for n in range(25_000)
        )
    )
    data = ("--site", SITE, "--format", "events", "--json", "--data", str(up.data))
    up.collect()
    until(lambda: up.stats()["pageviews"] == 1, "the site has an event to compare with")
    for accepted in (25_000, 0):
        done = footfall("import", str(log), *data)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["accepted"] == accepted


def test_commands_work_beside_it(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    up.collect()
    data = ("--data", str(up.data))
    flushed = footfall("archive", "flush", "--json", *data)
    assert (flushed.returncode, json.loads(flushed.stdout)) == (0, {"events": 1}), flushed.stderr
    asked = footfall("sql", "SELECT path, bot FROM events", "--json", *data)
    assert json.loads(asked.stdout) == {"path": "/", "bot": ""}
    refused = footfall("sql", "DROP TABLE event_rows", *data)
    assert refused.returncode == 1
    today = datetime.now(UTC).date().isoformat()
    for source in ("broker", "archive"):
        replayed = footfall("replay", "--from", today, "--to", today, "--source", source, "--json", *data)
        assert replayed.returncode == 0, replayed.stderr
        assert json.loads(replayed.stdout)["equal"] is True


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
