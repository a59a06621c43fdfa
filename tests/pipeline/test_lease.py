"""Two processes want one lease: one has it, the other takes it over when it is given back or no longer renewed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import stores
from activity.definitions import DAY_MS, HOUR_MS
from pipeline.lease import HeldLease
from stores.base import CheckpointStore, Conflict, StoreError, StoreUnreachable
from tests.patience import patient

NEVER = 10**9  # ms until a lease runs out, or is renewed


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return stores.connect_checkpoint(f"file://{tmp_path}")


@pytest.fixture
def two(store: CheckpointStore, clock: Clock) -> Iterator[tuple[HeldLease, HeldLease]]:
    with HeldLease(store, "0", clock, NEVER) as one, HeldLease(store, "0", clock, NEVER) as other:
        yield one, other


def test_a_lease_of_a_clock_that_was_set_back_is_not_waited_for(store: CheckpointStore, clock: Clock) -> None:
    ahead = HeldLease(store, "0", clock, HOUR_MS)
    clock.now += DAY_MS
    assert ahead.take()
    with HeldLease(store, "0", clock, HOUR_MS) as other:
        assert not other.take()
        clock.now -= DAY_MS
        assert not ahead.held
        assert other.holder() == ""
        assert other.take()
        assert not ahead.take()
        ahead.release()
        assert other.held


def test_who_has_it_renews_it_when_the_clock_is_set_back(store: CheckpointStore, clock: Clock) -> None:
    clock.now += DAY_MS
    with HeldLease(store, "0", clock, HOUR_MS) as one, HeldLease(store, "0", clock, HOUR_MS) as other:
        assert one.take()
        clock.now -= DAY_MS
        assert one.take()
        assert one.held
        assert not other.take()


def test_one_has_it_until_it_gives_it_back(two: tuple[HeldLease, HeldLease]) -> None:
    one, other = two
    assert one.holder() == ""
    assert one.take()
    assert one.take()
    assert not other.take()
    assert other.other == other.holder() != ""
    assert one.held
    assert not other.held
    one.release()
    assert not one.held
    assert other.holder() == ""
    assert other.take()
    assert other.other == ""


def test_who_is_not_heard_of_loses_it(two: tuple[HeldLease, HeldLease], clock: Clock) -> None:
    one, other = two
    assert one.take()
    clock.now += NEVER
    assert not one.held
    assert other.take()
    assert not one.take()
    one.release()  # of what is another's now, nothing is given back
    assert other.held
    assert not one.take()


@pytest.mark.parametrize("value", [b"", b"{", b'{"by": 3}'])
def test_a_lease_that_nobody_can_read_is_free(
    two: tuple[HeldLease, HeldLease], store: CheckpointStore, value: bytes
) -> None:
    store.swap("lease-0", value, None)
    one, other = two
    assert one.holder() == ""
    assert one.take()
    assert not other.take()


def test_of_many_that_want_it_at_once_one_has_it(store: CheckpointStore, clock: Clock) -> None:
    leases = [HeldLease(store, "0", clock, NEVER) for _ in range(12)]
    begin, taken = threading.Barrier(len(leases)), []

    def want(lease: HeldLease) -> None:
        begin.wait()
        taken.append(lease.take())

    threads = [threading.Thread(target=want, args=[lease]) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == sum(lease.held for lease in leases) == 1
    for lease in leases:
        lease.release()


def test_it_is_renewed_for_as_long_as_its_process_lives(store: CheckpointStore) -> None:
    """Also after the store has failed for a moment."""
    renewed, swap, written = threading.Semaphore(0), store.swap, 0
    failures: list[StoreError] = [StoreUnreachable("away"), Conflict("lost")]

    def failing(name: str, value: bytes, expected: str | None) -> str:
        nonlocal written
        if written > 1 and failures:
            raise failures.pop()
        version = swap(name, value, expected)
        written += 1
        renewed.release()
        return version

    with pytest.MonkeyPatch.context() as patch, HeldLease(store, "0", bound=300) as lease:
        patch.setattr(store, "swap", failing)
        assert lease.take()
        for _ in range(5):
            assert renewed.acquire(timeout=patient(30))
        assert not failures
