"""Which test runs when, and in which of the processes that share a run (pytest-xdist).

A file's tests stay together, so that what it sets up for all of them is set up once. A process that has finished a
file takes the next one from the list: the long ones come first, and the many short ones at the end let the processes
finish together. Servers that all may use are started once a run (`tests.once`); files that need one to themselves
are named in `TOGETHER`.
"""

from __future__ import annotations

from typing import Any

import pytest

# They count, plan and delete the product's own topics on the Kafka that all share, so they come one after the other.
_PRODUCT_TOPICS = (
    "tests/e2e/test_brokers.py",
    "tests/e2e/test_kafka_redis.py",
    "tests/e2e/test_serverless.py",
    "tests/e2e/test_serverless_trackers.py",
    "tests/e2e/test_broker_check.py",
)
TOGETHER = dict.fromkeys(_PRODUCT_TOPICS, "the product's topics on Kafka")

# Those that take longest, the first ones first. Files that mostly wait, for a broker to come back or a lease to run
# out, are taken by turns with files that compute, so that three processes keep two cores busy. Of the others, what
# needs real parts and is slow goes first.
LONGEST = (
    "tests/pipeline/test_flink.py",
    "tests/e2e/test_crash_points.py",
    "tests/e2e/test_broker_move.py",
    "tests/pipeline/test_replay_parts.py",
    *_PRODUCT_TOPICS,
    "tests/pipeline/test_units.py",
    "tests/brokers/test_faults.py",
    "tests/e2e/test_corruption.py",
    "tests/e2e/test_broker_failures_cluster.py",
    "tests/pipeline/forgetting/test_forget.py",
    "tests/e2e/test_broker_failures.py",
    "tests/e2e/test_fresh_clone.py",
)


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def order(item: pytest.Item) -> tuple[bool, int, bool, bool]:
    """For sorting; equal ones stay as they were collected."""
    file = file_of(item.nodeid)
    rank = LONGEST.index(file) if file in LONGEST else len(LONGEST)
    real, slow, last = (item.get_closest_marker(name) is not None for name in ("real", "slow", "last"))
    return last, rank, not slow, not real


def register(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "loadfile":
        config.pluginmanager.register(Distribution())


class Distribution:
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Files as pytest-xdist has them, those of `TOGETHER` as if they were one."""
        from xdist.scheduler import LoadFileScheduling

        class LoadTogether(LoadFileScheduling):
            def _split_scope(self, nodeid: str) -> str:
                return TOGETHER.get(file_of(nodeid), file_of(nodeid))

            def _reschedule(self, node: Any) -> None:
                super()._reschedule(node)
                # A worker begins a test when it knows the next one, or that there is none. One that took the place
                # of a dead worker would wait for ever with a file of one test.
                if not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
                    super()._reschedule(node)

        config.option.loadscopereorder = False  # by their number of tests
        return LoadTogether(config, log)
