"""The watch over a real warehouse, a real mail server and a real webhook: told once when it fires, once when over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from dashboards.operation import Disk, Loading, Operation
from infra.processes.alerts import Watch
from infra.settings import Settings
from infra.webhook import sign
from infra.wiring import Parts
from stores.accounts import FILE, Accounts
from tests import mailbox, sink
from tests.mailbox import Mailbox, free_port
from tests.sink import Sink

SITE = "example.com"
HOUR, WEEK = 3_600_000, 7 * 86_400_000
ANN = "ann@example.com"


class Clock:
    now = 1_775_000_000_000

    def __call__(self) -> int:
        return self.now


class World:
    """Opened parts with a watch over them; the test sets what the process tells and when it is."""

    def __init__(self, parts: Parts, clock: Clock, box: Mailbox, hook: Sink) -> None:
        self.parts, self.clock, self.box, self.hook = parts, clock, box, hook
        self.told = Operation(Loading(1.0, 0, None, 0, 0, 0, 0), disks=(Disk("/data", 50, 100),))
        self.url = f"http://127.0.0.1:{hook.port}/hook"
        self.alerts = parts.accounts.alerts

    def step(self, whole: bool = True) -> str:
        """A step of a watch made anew, as after a restart."""
        return Watch(self.parts, lambda: self.told, lambda: {SITE: "UTC"}, self.clock).step(whole)

    def visit(self, count: int, ago: int, first: int = 0) -> None:
        rows = [
            {"site": SITE, "visitor": first + n, "id_hi": ago, "id_lo": n, "occurred_at": self.clock.now - ago,
             "received_at": self.clock.now - ago, "type": "pageview", "path": "/", "batch": 1}
            for n in range(count)
        ]  # fmt: skip
        self.parts.warehouse.insert("event_rows", pl.DataFrame(rows), f"{self.clock.now} {ago} {first} {count}")

    def subjects(self) -> list[str]:
        return [message["Subject"] for message in self.box.messages]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock, box, hook = Clock(), Mailbox(free_port()), Sink(free_port())
    flags = {
        "data": tmp_path, "smtp": f"smtp://127.0.0.1:{box.port}", "mail_from": "f@example.com",
        "webhook_networks": "127.0.0.0/8",
    }  # fmt: skip
    with Parts(Settings.load({}, flags)) as parts, mailbox.serving(box), sink.serving(hook):
        parts.accounts = Accounts(tmp_path / FILE, clock)
        yield World(parts, clock, box, hook)
        parts.accounts.close()


def test_visitors_of_the_last_hour_are_told_once_and_once_that_it_is_over(world: World) -> None:
    world.alerts.add(SITE, "visitors", 20, ANN)
    world.visit(19, 60_000)
    world.step()
    assert world.subjects() == []
    world.visit(1, 50_000, 100)
    for _ in range(3):
        world.step()
    assert world.subjects() == [f"Alert: {SITE}: 20 visitors in the last hour"]
    world.clock.now += 2 * HOUR
    for _ in range(3):
        world.step()
    assert world.subjects()[1:] == [f"Over: {SITE}: 0 visitors in the last hour"]


def test_usual_visitors_are_those_of_the_same_hour_of_former_weeks(world: World) -> None:
    world.alerts.add(SITE, "spike", 2, ANN)
    world.alerts.add(SITE, "drop", 0.5, ANN)
    world.visit(5, 60_000)
    world.step()
    assert [each.looked for each in world.alerts.all()] == [None, None]  # nothing says what is usual
    for week, count in ((1, 10), (2, 12), (3, 14), (4, 1000)):
        world.visit(count, week * WEEK + 60_000)
    world.step()
    assert [each.value for each in world.alerts.all()] == [5 / 13, 5 / 13]
    assert world.subjects() == [f"Alert: {SITE}: 38% of the usual visitors"]
    world.visit(30, 40_000, 500)
    world.step()
    assert sorted(world.subjects()[1:]) == [
        f"Alert: {SITE}: 2.7 times the usual visitors",
        f"Over: {SITE}: 269% of the usual visitors",
    ]


def test_silence_counts_from_the_last_event_and_not_before_the_first(world: World) -> None:
    world.alerts.add(SITE, "silence", 30, ANN)
    world.step()
    assert world.alerts.all()[0].looked is None
    world.visit(1, 31 * 60_000)
    world.step()
    assert world.subjects() == [f"Alert: {SITE}: no event for 31 minutes"]
    world.clock.now += 20 * 86_400_000
    world.step()
    assert world.alerts.all()[0].value == 8 * 1440
    world.visit(1, 60_000)
    world.step()
    assert world.subjects()[1:] == [f"Over: {SITE}: no event for 1 minutes"]


def test_while_the_numbers_are_late_or_not_whole_nothing_is_said_of_a_site(world: World) -> None:
    world.alerts.add(SITE, "silence", 30, ANN)
    world.alerts.add("*", "lag", 5, ANN)
    world.visit(1, 60 * 60_000)
    world.step(whole=False)
    world.told = Operation(Loading(300.0, 0, None, 0, 0, 0, 0))
    world.step()
    assert world.subjects() == ["Alert: the installation: the numbers are 5 minutes behind"]
    world.told = Operation(Loading(1.0, 0, None, 0, 0, 0, 0))
    world.step()
    assert len(world.subjects()) == 3


def test_disks_and_dead_letters(world: World) -> None:
    world.alerts.add("*", "disk", 0.1, ANN)
    world.alerts.add("*", "dead-letters", 2, ANN)
    world.step()
    world.told = Operation(disks=(Disk("/a", 90, 100), Disk("/b", 9, 100)))
    letters = [
        {"received_at": world.clock.now - ago, "topic": "t", "reason": "r", "bytes": b"x"} for ago in (1, 2, 2 * HOUR)
    ]
    world.parts.warehouse.insert("dead_letter_rows", pl.DataFrame(letters), "letters")
    world.step()
    assert sorted(world.subjects()) == [
        "Alert: the installation: 2 dead letters in the last hour",
        "Alert: the installation: 9% of the disk is free",
    ]


def test_a_webhook_that_fails_gets_the_same_notice_again_after_a_restart(world: World) -> None:
    alert = world.alerts.add(SITE, "visitors", 3, world.url)
    world.visit(3, 60_000)
    world.hook.status = 500
    assert "answers 500" in world.step()
    assert "answers 500" in world.alerts.all()[0].error
    world.step()
    assert len(world.hook.posts) == 1  # its next try has not come
    world.hook.status = 200
    world.clock.now += 60_000
    world.step()
    world.step()
    assert len(world.hook.posts) == 2
    (_, first, body), (_, second, again) = world.hook.posts
    assert first["webhook-id"] == second["webhook-id"]
    assert second["webhook-signature"] == sign(
        alert.secret, second["webhook-id"], int(second["webhook-timestamp"]), again
    )
    told = json.loads(body)
    assert told == json.loads(again)
    assert told["type"] == "alert.fired"
    assert told["data"] | {"url": ""} == {
        "alert": alert.id, "site": SITE, "kind": "visitors", "threshold": 3.0, "value": 3.0,
        "text": f"{SITE}: 3 visitors in the last hour", "url": "",
    }  # fmt: skip
    assert world.alerts.all()[0].error == ""


def test_a_warehouse_that_does_not_answer_keeps_no_notice_back(world: World) -> None:
    world.alerts.add("*", "dead-letters", 2, ANN)
    world.alerts.add("*", "disk", 0.1, ANN)
    world.told = Operation(disks=(Disk("/a", 9, 100),))
    world.parts.warehouse.command("RENAME TABLE dead_letter_rows TO dead_letter_rows_away")
    assert "dead_letter_rows" in world.step()
    assert world.subjects() == ["Alert: the installation: 9% of the disk is free"]


def test_a_notice_is_given_up_after_a_day_and_a_removed_alert_has_none(world: World) -> None:
    world.alerts.add(SITE, "visitors", 3, world.url)
    world.visit(3, 60_000)
    world.hook.status = 500
    world.step()
    for _ in range(40):
        if not (due := world.alerts.due()):
            world.clock.now += HOUR
            continue
        world.alerts.note_failed(due[0], "again")
    tried = len(world.hook.posts)
    world.alerts.remove(world.alerts.all()[0])
    world.alerts.add(SITE, "visitors", 5_000, world.url)
    world.clock.now += 2 * HOUR
    world.step()
    assert len(world.hook.posts) == tried
    assert world.alerts.due() == []
