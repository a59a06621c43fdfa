"""What a step costs beyond its graph while ten thousand, a hundred thousand and a million visitors are open.

Each visitor has two or three events, and the visitors are spread over the two and a half hours that the state reaches
back. A step is what the loader does with a batch of 500 events, 300 of open visitors and 200 of new ones: it finds the
events of its visitors, forms their sessions, takes the batch in and prunes whenever that is due.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import polars as pl

from activity import session
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS
from activity.open_events import OpenEvents
from bench.harness import Result, percentile, result

SIZES = (10_000, 100_000, 1_000_000)
STEPS = 120
BUDGET = 5.0  # ms a step
HICCUP = 100.0  # ms at most in one step
FLAT = 1.5  # a step at the last size against one at the first
_SPAN = GAP_MS + HORIZON_MS
_NOW = 20_000 * DAY_MS
_AT_ONCE = 50_000


def events(rng: np.random.Generator, visitors: np.ndarray, times: np.ndarray) -> pl.DataFrame:
    """Return one event of each visitor at each time, with texts as many and as uneven as a site's."""
    count = len(visitors)

    def some(form: str, most: int) -> pl.Expr:
        return pl.format(form, pl.Series((rng.pareto(1.1, count) * 3).astype(np.int64) % most))

    columns = {
        "site": pl.lit("bench.example"), "type": pl.lit("pageview"), "interactive": pl.lit(True),
        "engaged_ms": pl.lit(0, pl.Int64), "visitor": pl.Series(visitors.astype(np.uint64)).hash(1),
        "id_hi": pl.Series(rng.integers(0, 2**63, count)).cast(pl.UInt64),
        "id_lo": pl.Series(rng.integers(0, 2**63, count)).cast(pl.UInt64),
        "received_at": pl.Series(times), "occurred_at": pl.Series(times),
        "path": some("/articles/of-some-length-{}", 20_000), "referrer": some("https://www.example.org/page/{}", 5000),
        "source": some("example{}.org", 500), "channel": some("Channel {}", 8), "country": some("C{}", 100),
        "region": some("Region {}", 500), "city": some("City {}", 2000), "browser": some("Browser {}", 30),
        "os": some("OS {}", 8), "device": some("d{}", 3), "language": some("l{}", 40),
    }  # fmt: skip
    return pl.select(**{name: columns.get(name, pl.lit("")) for name in session.STATE_COLUMNS})


def opened(rng: np.random.Generator, size: int) -> OpenEvents:
    """Return the events of `size` open visitors."""
    state = OpenEvents()
    visitors = np.repeat(np.arange(size), 2 + np.arange(size) % 2)
    times = (_NOW - _SPAN + visitors / size * _SPAN).astype(np.int64) + rng.integers(0, 60_000, len(visitors))
    for start in range(0, len(visitors), _AT_ONCE):
        state.add(events(rng, visitors[start : start + _AT_ONCE], times[start : start + _AT_ONCE]))
    return state


def steps(rng: np.random.Generator, size: int) -> tuple[list[float], list[float]]:
    """Return the wall time and the CPU time of each step in ms, pruning included."""
    state, watermark = opened(rng, size), _NOW
    walls: list[float] = []
    costs: list[float] = []
    for number in range(STEPS):
        now = watermark + 1000
        again = size // 2 + rng.integers(0, size // 2, 300)
        new = size + number * 200 + np.arange(200)
        batch = events(rng, np.concatenate([again, new]), now - rng.integers(0, 1000, 500))
        begun, used = time.perf_counter(), time.process_time()
        step = session.advance(state.of(batch["visitor"]), batch, watermark)
        state.add(step.taken)
        if session.pruned_at(now) > session.pruned_at(watermark):
            state.prune(session.pruned_at(now))
        walls.append((time.perf_counter() - begun) * 1000)
        costs.append((time.process_time() - used) * 1000)
        watermark = now
    return walls, costs


def results() -> Iterator[Result]:
    """Yield the mean step at each size, its growth from the first to the last, and the longest step of the last."""
    means: list[float] = []
    cpu: list[float] = []
    for size in SIZES:
        walls, costs = steps(np.random.default_rng(7), size)
        means.append(sum(walls) / STEPS)
        cpu.append(sum(costs) / STEPS)
        more = {"p10": round(percentile(walls, 0.1), 2), "cpu": round(cpu[-1], 2)}
        yield result(f"live step, {size} open", means[-1], BUDGET, "ms", 1.0, met=means[-1] <= BUDGET, **more)
    growth, longest = cpu[-1] / cpu[0], max(walls)
    yield result("live step, growth", cpu[-1], cpu[0], "ms of CPU", FLAT, met=growth <= FLAT)
    yield result("live step, longest", longest, HICCUP, "ms", 1.0, met=longest <= HICCUP)
