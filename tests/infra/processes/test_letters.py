"""The verbs of `footfall dead-letters` over real parts, where a replay was broken off."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from activity.event import DEAD_LETTER_TOPIC
from activity.refusal import DeadLetter, letter_id
from brokers.base import Record
from infra.processes.core import Core
from infra.processes.session import owned
from infra.settings import Settings

AT = 1_775_000_000_000
BODY = b'{"site":"example.com","type":"pageview","url":"https://example.com/%d"}'


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    (tmp_path / "sites.toml").write_text('[[site]]\ndomain = "example.com"\n')
    with owned(Settings.load({}, {"data": tmp_path}), "test") as made:
        made.parts.create_topics()
        yield made


def call(core: Core, verb: str, **arguments: Any) -> list[dict[str, Any]]:
    """The lines of a verb, having been JSON as between processes."""
    return [json.loads(json.dumps(line)) for line in core.verbs[verb](**json.loads(json.dumps(arguments)))]


def bury(core: Core, *bodies: bytes) -> list[str]:
    """Dead letters of these requests, stored; their ids."""
    ids = [letter_id(AT + number, f"{number:016x}") for number in range(len(bodies))]
    letters = [
        DeadLetter(
            id=its_id,
            reason="malformed",
            received_at=AT + number,
            bytes=base64.b64encode(body).decode(),
            where="/collect",
            site="example.com",
            visitor=f"{number:016x}",
        )
        for number, (its_id, body) in enumerate(zip(ids, bodies, strict=True))
    ]
    core.parts.broker.publish([Record(DEAD_LETTER_TOPIC, None, msgspec.json.encode(letter)) for letter in letters])
    assert call(core, "load") == [{"events": 0, "dead_letters": len(bodies)}]
    return ids


def sent(ids: list[str]) -> dict[str, str]:
    return {its_id: base64.b64encode(BODY % number).decode() for number, its_id in enumerate(ids)}


def events(core: Core) -> int:
    call(core, "load")
    call(core, "reconcile")
    return int(core.parts.warehouse.query("SELECT sum(pageviews) FROM sessions WHERE site = 'example.com'").item() or 0)


def replayed(core: Core, ids: list[str], **more: Any) -> list[tuple[str, int, int]]:
    lines = call(core, "letters-replay", **{"sent": sent(ids), "site": "", "dry_run": False} | more)
    return [(line["outcome"], line["accepted"], line["duplicates"]) for line in lines]


def test_a_replay_that_was_broken_off_before_it_was_noted_adds_nothing_the_next_time(core: Core) -> None:
    ids = bury(core, *[(BODY % number)[:-1] for number in range(3)])
    assert replayed(core, ids, dry_run=True) == [("would be replayed", 1, 0)] * 3
    assert events(core) == 0
    assert replayed(core, ids) == [("replayed", 1, 0)] * 3
    for loaded in (False, True):  # nobody noted it, and what was published was not loaded; then it was
        core.parts.warehouse.command("TRUNCATE TABLE letter_deeds")
        assert replayed(core, ids) == [("replayed", 0, 1) if loaded else ("replayed", 1, 0)] * 3
        assert events(core) == 3
    assert replayed(core, ids) == [("replayed before", 0, 0)] * 3
    assert events(core) == 3


def test_one_letter_that_is_refused_holds_up_no_other(core: Core) -> None:
    ids = bury(core, b"{", b"{")
    more = sent(ids) | {ids[0]: base64.b64encode(b"[").decode()}
    assert replayed(core, ids, sent=more) == [("replayed", 1, 0), ("refused", 0, 0)]  # the newest first
    assert events(core) == 1
    found = call(core, "letters-find", wanted={}, limit=9, before=None)
    assert [(each["id"], each["deed"]) for each in found] == [(ids[0], "")]
