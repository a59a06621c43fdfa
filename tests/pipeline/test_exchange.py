"""Every exchange alike: names of their own, reads that do not consume, staged frames that replace, and a clear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from activity import columns
from pipeline.exchange import Exchange, TemporaryExchange, connect_exchange
from stores.base import StoreError, Unusable


@pytest.fixture(params=["memory", "folder", "temporary", "spilling", "bucket"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Exchange]:
    """Makes an exchange; one in a folder or a bucket is the same one each time."""
    match request.param:
        case "memory":
            return lambda: connect_exchange("")
        case "folder":
            return lambda: connect_exchange(str(tmp_path / "exchange"))
        case "temporary":
            return TemporaryExchange
        case "spilling":
            one_has_room = int(numbers(1, 2).estimated_size())
            request.getfixturevalue("monkeypatch").setattr("pipeline.exchange._HELD", one_has_room)
            return TemporaryExchange
    url = request.getfixturevalue("s3_url")
    return lambda: connect_exchange(url)


def numbers(*values: int) -> pl.DataFrame:
    texts = [f"ä{value}" for value in values]
    return pl.DataFrame({"n": values, "text": texts, "id": pl.Series(texts, dtype=pl.Categorical)})


def test_a_frame_is_read_as_often_as_a_step_is_repeated(make: Callable[[], Exchange]) -> None:
    exchange = make()
    names = [exchange.write(numbers(1, 2)), exchange.write(numbers(1, 2)), exchange.write(numbers(3))]
    assert len(set(names)) == 3
    for _ in range(1 if isinstance(exchange, TemporaryExchange) else 2):  # nothing is repeated within one process
        assert exchange.read([names[2], names[0]]).equals(numbers(3, 1, 2))
    exchange.clear()


@pytest.mark.parametrize("make", ["memory", "folder", "bucket"], indirect=True)
def test_texts_and_ids_of_one_column_are_joined(make: Callable[[], Exchange]) -> None:
    """A run of one shard may have both: events that came as columns, and events that came as records."""
    exchange = make()
    texts = pl.DataFrame({"site": ["a", "b"], "url": ["x", "y"]})
    names = [exchange.write(texts), exchange.write(columns.as_ids(texts)), exchange.write(texts)]
    found = exchange.read(names)
    assert columns.as_texts(found).equals(pl.concat([texts] * 3))
    assert found["site"].dtype == pl.Categorical
    exchange.clear()


def test_what_is_staged_again_replaces_and_comes_back_by_block(make: Callable[[], Exchange]) -> None:
    exchange = make()
    assert list(exchange.staged("events")) == []
    for block in ("10", "9", "10"):
        exchange.stage(f"events/{block}", numbers(int(block)))
    exchange.stage("late/0", numbers(7))
    assert [(block, frame["n"].to_list()) for block, frame in exchange.staged("events")] == [("9", [9]), ("10", [10])]
    assert [block for block, _ in exchange.staged("late")] == ["0"]
    exchange.clear()
    assert list(exchange.staged("events")) == []


def test_after_a_clear_it_is_empty_and_takes_new_frames(make: Callable[[], Exchange]) -> None:
    exchange = make()
    name = exchange.write(numbers(1))
    exchange.clear()
    with pytest.raises((StoreError, KeyError)):
        exchange.read([name])
    exchange.clear()


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_another_process_reads_what_one_wrote(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = str(tmp_path / "exchange") if kind == "folder" else request.getfixturevalue("s3_url")
    writer, reader = connect_exchange(url), connect_exchange(url)
    name = writer.write(numbers(1))
    writer.stage("events/0", numbers(2))
    assert reader.read([name]).equals(numbers(1))
    assert [frame["n"].to_list() for _, frame in reader.staged("events")] == [[2]]


def test_a_place_that_workers_cannot_share_is_refused() -> None:
    with pytest.raises(Unusable, match="frames are exchanged in a folder"):
        connect_exchange("redis://127.0.0.1:6379/0")
