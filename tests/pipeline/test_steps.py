"""Each step of the graph alone, run by Beam: what goes in, what comes out, what it counts."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec
import polars as pl
import pytest

from activity import codec, columns, rollup, session
from activity.columns import COLUMNS
from activity.erasure import Erasures, Tombstone, hashed_user
from activity.open_events import OpenEvents
from activity.refusal import DeadLetter
from brokers.base import Gone, Position, Unsent
from pipeline import io, steps
from pipeline.exchange import MemoryExchange, TemporaryExchange
from pipeline.graph import SINKS
from pipeline.run import RUNS, Raw, Registered, Run
from pipeline.runner import CompiledGraph, Runner
from stores.base import Unreadable, Unusable
from tests.pipeline.world import T0, event

_seen: list[Any] = []


class Keep(beam.DoFn):
    """Keeps what reaches it. In this process, so a module's list serves."""

    def process(self, element: Any) -> None:
        _seen.append(element)


def feed(number: int) -> Any:
    return _inputs[number]


_inputs: list[Any] = []


def through(step: Any, inputs: list[Any], tag: str | None = None) -> tuple[list[Any], dict[str, int]]:
    _seen.clear()
    _inputs[:] = inputs

    def construct(p: beam.Pipeline) -> None:
        out = p | beam.Create(range(len(inputs))) | "In" >> beam.Map(feed) | "Step" >> step
        (out[tag] if tag else out) | "Keep" >> beam.ParDo(Keep())

    counters = CompiledGraph(construct).execute()
    return list(_seen), counters


@contextmanager
def registered(run: Run) -> Iterator[Registered]:
    exchange = TemporaryExchange() if run.shards > 1 else MemoryExchange()
    with RUNS.registered("test", replace(run, exchange=exchange)):
        yield Registered("test")
    exchange.clear()


def frame(*events: Any) -> pl.DataFrame:
    return columns.decode([codec.encode(e) for e in events])[0].select(COLUMNS.keys())


def raw(*values: bytes, topic: str = "footfall.pageview") -> Raw:
    positions = [Position((n,)) for n in range(len(values))]
    return Raw(topic, 1, positions, [T0 + n for n in range(len(values))], list(values))


def test_decode_passes_on_what_parses_with_its_place_in_the_log() -> None:
    batch = raw(b"{", codec.encode(event(1)), b"\xff\x00", codec.encode(event(2)))
    with registered(Run([], {})) as ref:
        out, counters = through(steps.Decode(ref, positions=True), [batch], "events")
    rows = pl.concat(out)
    assert rows["position"].to_list() == ["1", "3"]
    assert rows["published_at"].to_list() == [T0 + 1, T0 + 3]
    assert counters == {"decode.records": 4, "decode.events": 2, "decode.dead": 2}


def test_decode_hands_what_does_not_parse_to_the_dead_letters_as_it_was() -> None:
    with registered(Run([], {})) as ref:
        out, _ = through(steps.Decode(ref), [raw(b"{", codec.encode(event(1)), b"\xff\x00")], "dead")
    assert pl.concat(out)["bytes"].to_list() == [b"{", b"\xff\x00"]
    assert all("JSON" in reason for reason in pl.concat(out)["reason"])


def test_decode_leaves_out_what_was_erased_or_is_forgotten() -> None:
    values = [b"", codec.encode(event(1, visitor=1)), codec.encode(event(2, visitor=2)), b"{"]
    erasures = Erasures((Tombstone(1, "a.example", T0 + 1, f"{1:016x}"),))
    with registered(Run([], {}, erasures=erasures)) as ref:
        out, counters = through(steps.Decode(ref, positions=True), [raw(*values)], "events")
    assert pl.concat(out)["position"].to_list() == ["2"]
    assert counters == {"decode.records": 4, "decode.events": 1, "decode.dead": 1, "decode.erased": 2}


def test_decode_leaves_out_the_letters_of_a_visitor_who_is_forgotten() -> None:
    erasures = Erasures((Tombstone(1, "a.example", T0 + 1, f"{1:016x}"),))
    letters = [
        DeadLetter(reason="malformed", received_at=T0 + n, bytes="", site="a.example", visitor=f"{visitor:016x}")
        for n, visitor in ((0, 1), (1, 1), (0, 2))
    ]
    batch = raw(*map(msgspec.json.encode, letters), topic="footfall.dead-letter")
    with registered(Run([], {}, erasures=erasures)) as ref:
        out, counters = through(steps.Decode(ref), [batch], "dead")
    assert pl.concat(out).select("received_at", "visitor").rows() == [(T0 + 1, f"{1:016x}"), (T0, f"{2:016x}")]
    assert (counters["decode.dead"], counters["decode.erased"]) == (2, 1)


def test_decode_leaves_out_letters_that_name_who_is_forgotten_in_their_bytes() -> None:
    him = f"{1:016x}"
    erasures = Erasures((
        Tombstone(1, "a.example", T0 + 1, him), Tombstone(1, "a.example", T0 + 1, user=hashed_user("a.example", "ann")),
    ))  # fmt: skip
    texts = [f'{{"visitor":"{him}"', '{"user":"ann"', "/collect.gif?user=ann", '{"user":"bo"']
    letters = [
        DeadLetter(reason="malformed", received_at=T0, bytes=base64.b64encode(text.encode()).decode()) for text in texts
    ]
    there = DeadLetter(reason="malformed", received_at=T0, bytes="", site="b.example",
                       sender=msgspec.Raw(f'{{"others":{{"a.example":"{him}"}}}}'.encode()))  # fmt: skip
    batch = raw(*map(msgspec.json.encode, [*letters, there]), topic="footfall.dead-letter")
    spoiled = raw(f'{{"visitor":"{him}"'.encode(), b"{")
    with registered(Run([], {}, erasures=erasures)) as ref:
        out, counters = through(steps.Decode(ref), [batch], "dead")
        assert pl.concat(out)["bytes"].to_list() == [texts[-1].encode()]
        assert (counters["decode.dead"], counters["decode.erased"]) == (1, 4)
        out, counters = through(steps.Decode(ref), [spoiled], "dead")
        assert pl.concat(out)["bytes"].to_list() == [b"{"]


def test_decode_opens_the_doors_envelopes() -> None:
    first = b'{"reason":"malformed","where":"/collect","received_at":7,"bytes":"e3sA"'
    more = b',"id":"00","site":"a.example","visitor":"0f","detail":"no","length":9,"sender":{"page":"p"}}'
    letters = raw(first + b"}", first + more, b"junk", topic="footfall.dead-letter")
    with registered(Run([], {})) as ref:
        out, _ = through(steps.Decode(ref), [letters], "dead")
    assert pl.concat(out).rows() == [
        (7, "/collect", "malformed", b"{{\x00", "", "", "", "", 3, "{}"),
        (7, "/collect", "malformed", b"{{\x00", "00", "a.example", "0f", "no", 9, '{"page":"p"}'),
        (T0 + 2, "footfall.dead-letter", "not an envelope", b"junk", "", "", "", "", 4, "{}"),
    ]


def test_what_the_door_counted_is_no_dead_letter() -> None:
    held = base64.b64encode(b'{"id":"p/1","counts":[[7,"a.example","refused","malformed",3],[7,"","accepted","",2]]}')
    record = b'{"reason":"outcomes","received_at":7,"bytes":"' + held + b'"}'
    batch = raw(record, record[:-3] + b'"}', topic="footfall.dead-letter")
    with registered(Run([], {})) as ref:
        out, _ = through(steps.Decode(ref), [batch], "outcomes")
        dead, _ = through(steps.Decode(ref), [batch], "dead")
    counts = [("p/1", 7, "a.example", "refused", "malformed", 3), ("p/1", 7, "", "accepted", "", 2)]
    assert pl.concat(out).rows() == counts
    assert pl.concat(dead)["reason"].to_list() == ["not an envelope"]


@pytest.mark.parametrize("shards", [1, 3])
def test_key_by_shard_keeps_a_visitor_whole(shards: int) -> None:
    batches = [frame(*(event(n, visitor=n % 7) for n in range(start, start + 20))) for start in (0, 20)]
    with registered(Run([], {}, shards=shards)) as ref:
        out, counters = through(steps.KeyByShard(ref, shards), batches)
    whole = pl.concat([each for _, each in out])
    assert columns.as_texts(whole).sort("id_lo").equals(pl.concat(batches).sort("id_lo"))
    assert counters["key_by_shard.events"] == 40
    assert sorted(shard for shard, _ in out) == list(range(shards))
    visitors = [set(each["visitor"]) for _, each in out]
    assert sum(map(len, visitors)) == len(set().union(*visitors)) == 7


def test_dedupe_counts_copies_and_asks_for_what_is_stored() -> None:
    stored = frame(event(1), event(2, received_at=T0 + 9))
    with registered(Run([], {}, lookup=lambda keys: stored)) as ref:
        batch = frame(event(1), event(2), event(3), event(3))
        out, counters = through(steps.Dedupe(ref), [(0, batch)])
    assert counters == {"dedupe.fresh": 2, "dedupe.duplicates": 3, "dedupe.retracted": 1}
    assert sorted(out[0][1].fresh["id_lo"]) == [2, 3]


def deduped(*events: Any) -> session.Deduped:
    fresh = frame(*events)
    return session.Deduped(fresh, fresh.clear(), 0)


def test_sessionize_leaves_bots_out_and_late_events_aside() -> None:
    late = event(3, T0 - 10 * 3_600_000)
    with registered(Run([], {}, watermark=T0)) as ref:
        batch = deduped(event(1), event(2, T0 + 1, visitor=9, bot="headless"), late)
        changes, counters = through(steps.Sessionize(ref), [(0, batch)], "changes")
        lates, _ = through(steps.Sessionize(ref), [(0, batch)], "late")
    assert counters == {"sessionize.changes": 1, "sessionize.late": 1}
    assert changes[0][1]["events"].to_list() == [1]
    assert lates[0][1]["occurred_at"].to_list() == [late.occurred_at]


@pytest.mark.parametrize("grain", rollup.GRAINS)
def test_roll_up_is_signed(grain: str) -> None:
    fresh = frame(event(1), event(2, T0 + 1))
    batch = session.Deduped(fresh, frame(event(1)), 0)
    out, counters = through(steps.RollUp(grain), [(0, batch)])
    totals = out[0][1].filter(pl.col("dimension") == "")
    assert (totals["events"].to_list(), totals["pageviews"].to_list()) == ([1], [1])
    assert counters[f"roll_up.{grain}_rows"] == out[0][1].height


def test_event_rows_delete_a_replaced_row_only_where_the_day_moved() -> None:
    fresh = frame(event(1), event(2))
    retracted = frame(event(1, T0 - 86_400_000), event(2, T0 - 1))
    out, _ = through(steps.EventRows(), [(0, session.Deduped(fresh, retracted, 0))])
    rows = out[0][1].sort("deleted")
    assert rows["deleted"].to_list() == [False, False, True]
    assert rows["occurred_at"][2] == T0 - 86_400_000


@pytest.mark.parametrize("sink", [io.WriteShards, io.WriteGathered])
def test_sinks_write_each_block_under_its_name(sink: Any) -> None:
    written: list[tuple[int, str]] = []
    with registered(Run([], {"events": lambda f, block: written.append((f.height, block))})) as ref:
        rows = frame(event(1), event(2))
        inputs = [(4, rows)] if sink is io.WriteShards else [rows, rows]
        _, counters = through(sink(ref, "events"), inputs)
    assert written == ([(2, "4")] if sink is io.WriteShards else [(4, "0")])
    assert counters == {"write_events.rows": written[0][0]}


def test_every_sink_gets_the_same_rows_of_one_shard_as_of_many() -> None:
    """Many shards travel as ids and through files, one shard as texts and in memory."""

    class Feed:
        def batches(self) -> Iterator[pl.DataFrame]:
            for start in range(0, 60, 10):
                yield frame(*(
                    event(
                        n, T0 + n * 60_000, visitor=n % 7, source=f"s{n % 3}", browser=f"b{n % 11}",
                        bot="headless" if n % 9 == 0 else "", path=f"/{n}",
                    )
                    for n in range(start, start + 10)
                ))  # fmt: skip
            yield frame(event(91, T0 - 10 * 3_600_000, visitor=5))

    # Of two stored copies, the lesser stays and the greater is replaced.
    stored = frame(event(1, T0, visitor=1, received_at=T0 - 9), event(2, T0, visitor=2, received_at=T0 + 10**9))
    sinks = [name for name in SINKS if name not in ("archive", "dead_letters", "outcomes")]

    def outcome(shards: int) -> dict[str, pl.DataFrame]:
        found: dict[str, list[pl.DataFrame]] = {name: [] for name in sinks}
        writes = {name: io.collecting(frames) for name, frames in found.items()}
        state = OpenEvents()
        state.add(frame(event(90, T0 - 60_000, visitor=4)).select(session.STATE_COLUMNS.keys()))
        lookup = lambda keys: stored.join(keys, on=session.IDENTITY, how="semi")  # noqa: E731
        Runner().run(Run([Feed()], writes, state, T0, lookup, shards))
        return {name: pl.concat(frames) for name, frames in found.items()}

    one, many = outcome(1), outcome(5)
    for name in sinks:
        assert one[name].schema == many[name].schema, name
        assert one[name].height, name
        if name not in ("rollup_1m", "rollup_1h", "tally"):  # those are summed over the shards
            assert one[name].sort(pl.all()).equals(many[name].sort(pl.all())), name


def test_a_frame_that_is_gone_is_the_runs_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The exchange works in threads, ahead of the steps: a fault there must not be lost."""

    class Feed:
        def batches(self) -> Iterator[pl.DataFrame]:
            for number in range(20):
                yield frame(event(number))
                for folder in tmp_path.glob("footfall-*"):
                    folder.rename(tmp_path / f"gone-{number}")  # at once, whatever is being written there

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("pipeline.exchange._HELD", 0)
    with pytest.raises(Unusable, match="footfall-"):
        Runner().run(Run([Feed()], {"sessions": lambda frame, block: None}, shards=2))


@pytest.mark.parametrize("fault", [Gone("gone"), Unsent("unsent", [1]), Unreadable("a.parquet", "torn", "mend it")])
def test_a_fault_in_a_step_comes_out_as_itself(fault: Exception) -> None:
    class Broken:
        def batches(self) -> Iterator[Raw]:
            raise fault
            yield

    with pytest.raises(type(fault)):
        Runner().run(Run([Broken()], {"sessions": lambda frame, block: None}))
