"""A plan in words: it comes back as it was, carries no secret, and a worker opens it with those of its own."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.plan import Plan, StateRef
from pipeline.resources import Resources
from stores.backends import hide_credentials
from stores.base import Unusable
from tests.pipeline.test_live import history
from tests.pipeline.world import World


def plan(world: World, **changes: object) -> Plan:
    """The plan of the world's next micro-batch, as the loader hands it to a runner."""
    seen: list[Plan] = []
    execute = world.loader.runner.execute
    world.publish(*history(1, 50))
    world.loader.runner.execute = lambda plan, parts: (seen.append(plan), execute(plan, parts))[1]  # type: ignore[method-assign]
    try:
        world.loader.step()
    finally:
        del world.loader.runner.execute
    return msgspec.structs.replace(seen[0], **changes)


def test_a_plan_says_the_same_in_words(world: World) -> None:
    made = plan(world)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made
    assert made.ranges
    assert made.state == StateRef("0", [], 0)


def test_a_plan_has_no_password_and_a_worker_without_it_says_which_setting_it_lacks(wide_world: World) -> None:
    secret = wide_world.warehouse_url.replace("ann@", "ann:s3cret@")
    hidden = hide_credentials(secret)
    assert "s3cret" not in hidden
    given = plan(wide_world, warehouse=hidden)
    with pytest.raises(Unusable, match="FOOTFALL_WAREHOUSE"):
        Resources().run(given, b"1")
    knowing = Resources()
    knowing.use([secret], {})
    with pytest.raises(Unusable, match="does not take this user and password"):  # the server has another: it was sent
        knowing.run(given, b"1")


def test_a_plan_is_opened_once(wide_world: World) -> None:
    resources, given = Resources(), plan(wide_world)
    assert resources.run(given, b"1") is resources.run(given, b"1")
