"""Users of odd spelling are forgotten as any other, in events and in dead letters of every spelling."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from activity.event import DEAD_LETTER_TOPIC
from activity.refusal import DeadLetter
from brokers.base import Record
from pipeline import forget
from pipeline.erasing import Person
from tests.pipeline.world import T0, World, event

SITE = "a.example"
USERS = ["ann+b@x.example", "zo\u00eb \"q\" 'r' \\ /s", "100%25", "tab\there\nand there", "\u4e2d\u6587", "{}[],:"]


def spelt(user: str) -> list[str]:
    """Requests that could not be read and have the user."""
    texts = [json.dumps(user, ensure_ascii=False), json.dumps(user), json.dumps(user).replace("/", "\\/")]
    queries = [quote(user, safe=""), quote_plus(user), quote(user, safe="!*'()")]
    queries += [re.sub("%..", lambda found: found[0].lower(), query) for query in queries]
    return [*(f'{{"user":{text}' for text in texts), *(f"type=x&user={query}&url=" for query in queries)]


def letter(text: str) -> Record:
    held = base64.b64encode(text.encode()).decode()
    envelope = DeadLetter(reason="malformed", received_at=T0, bytes=held)
    return Record(DEAD_LETTER_TOPIC, None, msgspec.json.encode(envelope))


@pytest.mark.parametrize("user", USERS)
def test_a_user_of_odd_spelling_is_forgotten(world: World, user: str) -> None:
    letters = [letter(text) for text in dict.fromkeys(spelt(user))]
    hers = letter('{"user":"her"')
    theirs = msgspec.structs.replace(event(2, visitor=8), user=f"{user}x")
    world.publish(msgspec.structs.replace(event(1), user=user), theirs)
    world.broker.publish([*letters, hers])
    world.loader.drain()
    world.flush()
    receipt = forget.forget(world.loader, world.archive, Person(SITE, user=user), lambda _what: None)
    assert (receipt["removed"]["events"], receipt["removed"]["dead_letters"]) == (1, len(letters))
    assert receipt["removed"]["log_records"] >= 1 + len(letters)
    assert world.warehouse.query("SELECT user FROM events")["user"].to_list() == [f"{user}x"]
    assert world.count("SELECT count() FROM dead_letter_rows") == 1
    # As a broker that cannot erase gives them again.
    world.broker.publish([*letters, hers])
    [counters] = world.loader.drain()
    assert (counters["decode.erased"], counters["decode.dead"]) == (len(letters), 1)
