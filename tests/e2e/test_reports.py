"""Reports by e-mail and alerts over a running `footfall up`, with a real mail server and a real webhook."""

from __future__ import annotations

import base64
import hmac
import json
import sqlite3
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.e2e.harness import SITE, Up, fetch, footfall, until
from tests.mailbox import Mailbox, free_port, serving
from tests.sink import Sink
from tests.sink import serving as receiving


def command(up: Up, *words: str) -> dict[str, object]:
    done = footfall(*words, "--data", str(up.data), "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1])) if done.stdout else {}


def test_a_report_is_tried_sent_by_itself_and_ended_by_its_reader(start: Callable[..., Up]) -> None:
    box = Mailbox(free_port())
    mail = ("--smtp", f"smtp://127.0.0.1:{box.port}", "--mail-from", "Footfall <footfall@example.com>")
    up = start("--site", SITE, *mail).wait_ready()
    up.collect(url=f"https://{SITE}/")
    command(up, "report", "add", SITE, "ann@example.com")
    down = footfall("report", "send", SITE, "ann@example.com", "--data", str(up.data))
    assert (down.returncode, "cannot be used" in down.stderr) == (1, True)
    unknown = footfall("report", "add", "nothing.example", "ann@example.com", "--data", str(up.data))
    assert (unknown.returncode, "is not counted" in unknown.stderr) == (1, True)
    with serving(box):
        told = command(up, "report", "send", SITE, "ann@example.com")
        assert box.recipients == ["ann@example.com"]
        page = f"{up.dashboards}/{SITE}?from={told['first']}&to={told['last']}"
        assert page in box.messages[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]
        # As if it had been there for long, so that the last week is due. It looks after a start, then once a minute.
        assert up.stop() == 0
        with sqlite3.connect(up.data / "accounts.db") as accounts:
            accounts.execute("UPDATE reports SET created = 0")
        accounts.close()
        up = start("--site", SITE, *mail).wait_ready()
        until(lambda: len(box.messages) == 2, "the report of the last week is sent by itself", 120)
        assert box.messages[1]["Message-ID"] != ""
        until(lambda: command(up, "report", "list")["sent"], "that it was sent is kept")
        assert up.stop() == 0
        up = start("--site", SITE, *mail).wait_ready()
        assert command(up, "report", "list")["error"] == ""
        leave = box.messages[1]["List-Unsubscribe"].strip("<>")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, _ = fetch(f"{up.dashboards}{urlsplit(leave).path}", b"List-Unsubscribe=One-Click", form)
        assert status == 200
        assert command(up, "report", "list") == {}
    assert len(box.messages) == 2


def test_an_alert_fires_to_a_webhook_by_itself(start: Callable[..., Up]) -> None:
    hook = Sink(free_port())
    up = start("--site", SITE, "--webhook-networks", "127.0.0.1").wait_ready()
    url = f"http://127.0.0.1:{hook.port}/hook"
    with receiving(hook):
        added = command(up, "alert", "add", "visitors", "1", url, "--site", SITE)
        command(up, "alert", "test", str(added["alert"]))
        assert json.loads(hook.posts[0][2])["type"] == "alert.test"
        up.collect(url=f"https://{SITE}/")
        until(lambda: len(hook.posts) == 2, "the alert is told", 180)
    _, headers, body = hook.posts[1]
    told = json.loads(body)
    assert (told["type"], told["data"]["value"], told["data"]["site"]) == ("alert.fired", 1.0, SITE)
    key = base64.b64decode(str(added["secret"]).removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    made = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{made}"
    assert command(up, "alert", "list")["firing"] is True
    command(up, "alert", "remove", str(added["alert"]))
    assert command(up, "alert", "list") == {}
