"""A plan in words: it comes back as it was, carries no secret, and a worker opens it with those of its own."""

from __future__ import annotations

import msgspec
import pytest

from activity.erasure import Erasures, Tombstone
from pipeline.plan import Plan, StateRef
from pipeline.resources import Resources
from stores.backends import hide_credentials
from stores.base import Unusable
from tests.pipeline.test_live import history
from tests.pipeline.world import World


def plan(world: World, **changes: object) -> Plan:
    """The plan of the world's next micro-batch."""
    world.publish(*history(1, 50))
    checkpoint = world.loader.open()
    intent = world.loader._plan(checkpoint)
    assert intent is not None
    return msgspec.structs.replace(world.loader._plan_of(checkpoint, intent), **changes)


def test_a_plan_says_the_same_in_words(world: World) -> None:
    made = plan(world, erasures=Erasures((Tombstone(1, "a.example", 7, f"{1:016x}"),)))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made
    assert made.ranges
    assert made.state == StateRef("0", [], 0)


def test_a_plan_has_no_password_and_a_worker_without_it_says_which_setting_it_lacks(wide_world: World) -> None:
    secret = wide_world.warehouse_url.replace("ann@", "ann:s3cret@")
    hidden = hide_credentials(secret)
    assert "s3cret" not in hidden
    given = plan(wide_world, warehouse=hidden)
    with pytest.raises(Unusable, match="FOOTFALL_WAREHOUSE"):
        Resources().run(msgspec.json.encode(given))
    knowing = Resources()
    knowing.use([secret], {})
    with pytest.raises(Unusable, match="does not take this user and password"):  # the server has another: it was sent
        knowing.run(msgspec.json.encode(given))


def test_a_plan_is_opened_once(wide_world: World) -> None:
    resources, words = Resources(), msgspec.json.encode(plan(wide_world))
    assert resources.run(words) is resources.run(words)
