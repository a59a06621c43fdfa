"""What visits did in order, in plain Python: funnels, paths, what came of searches. It imports nothing of the product.

A track is what a visit did, or a visitor: events in order, each with all that it is, as (dimension, value).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Step = tuple[str, str, Sequence[str]]  # operator, dimension, texts, as in an address


class Did(NamedTuple):
    """One event: its time (Unix ms), what it is, and how many results a search told of."""

    at: int
    things: Sequence[tuple[str, str]]
    results: int | None = None


Track = Sequence[Did]


def meets(did: Did, step: Step) -> bool:
    operator, dimension, texts = step
    names = ("page", "event") if dimension == "goal" else (dimension,)
    values = [value for name, value in did.things if name in names]
    if operator == "contains":
        return any(text in value for value in values for text in texts)
    return any(value in texts for value in values)


def funnel(tracks: Iterable[Track], steps: Sequence[Step]) -> list[tuple[int, float]]:
    """How many tracks reach each step, each by a later event, and the median of the seconds since the step before."""
    reached, took = Counter[int](), defaultdict[int, list[float]](list)
    for track in tracks:
        rest, before = iter(track), None
        for number, step in enumerate(steps):
            hit = next((did for did in rest if meets(did, step)), None)
            if hit is None:
                break
            reached[number] += 1
            if before is not None:
                took[number].append((hit.at - before.at) / 1000)
            before = hit
    return [(reached[n], _middle(took[n])) for n in range(len(steps))]


def _middle(times: list[float]) -> float:
    """The upper one of two in the middle."""
    return sorted(times)[len(times) // 2] if times else 0.0


def paths(tracks: Iterable[Track], pages: Sequence[str], *, backward: bool) -> dict[str, int]:
    """In how many tracks a page follows these pages in a row, or precedes them; "" for none."""
    found = Counter[str]()
    sought = list(pages)[::-1] if backward else list(pages)
    for track in tracks:
        viewed = [value for did in track for name, value in did.things if name == "page"]
        viewed = [page for n, page in enumerate(viewed) if n == 0 or page != viewed[n - 1]]
        viewed = viewed[::-1] if backward else viewed
        places = [n for n in range(len(viewed)) if viewed[n : n + len(sought)] == sought]
        if places:
            found[(viewed[places[0] + len(sought) :] or [""])[0]] += 1
    return dict(found)


def searches(tracks: Iterable[Track]) -> dict[str, dict[str, Any]]:
    """By term: how often it was searched for, with what results, and what was viewed next."""
    told, following = defaultdict[str, list[int | None]](list), defaultdict[str, Counter[str]](Counter)
    for track in tracks:
        for n, did in enumerate(track):
            for name, term in did.things:
                if name == "search":
                    later = [d for d in track[n + 1 :] if d.at > did.at]
                    pages = [value for d in later for kind, value in d.things if kind == "page"]
                    told[term].append(did.results)
                    following[term][(pages or [""])[0]] += 1
    return {term: _searched(results, following[term]) for term, results in told.items()}


def _searched(results: list[int | None], following: Counter[str]) -> dict[str, Any]:
    counts = [count for count in results if count is not None]
    times, page = max(((times, page) for page, times in following.items() if page), default=(0, ""))
    return {
        "searches": len(results),
        "without_results": counts.count(0),
        "mean_results": sum(counts) / len(counts) if counts else None,
        "exits": following[""],
        "next_page": page,
        "next_times": times,
    }
