"""What a checkpoint looks like where it is stored: another version of Footfall has to read it."""

from __future__ import annotations

import msgspec

from pipeline.checkpoint import Checkpoint, Intent, Lease, PartitionRange
from pipeline.losses import Missing, Part

STORED = (
    b'{"version":1,"batch":4,"generation":"0a1b","partitions":2,"positions":{"footfall.pageview":{"0":"7@a"}},'
    b'"watermark":9,"snapshot":"s","deltas":["d"],"marks":["m"],"intent":{"batch":5,"ranges":[{"topic":"t",'
    b'"partition":1,"after":null,"upto":"8@a"}],"watermark":9,"next_watermark":10},"hold":{"by":"me","until":11},'
    b'"parts":[["event_rows","202611",1,2,3,4,5]],"missing":[["rows",1,2]],"events":6,"retracted":1,"lost":true,'
    b'"epoch":3,"moved_to":4,"erased":2}'
)


def test_a_checkpoint_keeps_its_stored_names() -> None:
    checkpoint = Checkpoint(
        batch=4,
        generation="0a1b",
        partitions=2,
        positions={"footfall.pageview": {"0": "7@a"}},
        watermark=9,
        snapshot="s",
        deltas=["d"],
        dirty_days=["m"],
        intent=Intent(5, [PartitionRange("t", 1, None, "8@a")], 9, 10),
        lease=Lease("me", 11),
        parts=[Part("event_rows", "202611", 1, 2, 3, 4, 5)],
        missing=[Missing("rows", 1, 2)],
        events=6,
        retracted=1,
        lost=True,
        epoch=3,
        moved_to=4,
        erased=2,
    )
    assert msgspec.json.encode(checkpoint) == STORED
    assert msgspec.json.decode(STORED, type=Checkpoint) == checkpoint
    before_units = msgspec.json.decode(STORED.replace(b',"epoch":3,"moved_to":4,"erased":2', b""), type=Checkpoint)
    assert before_units == msgspec.structs.replace(checkpoint, epoch=0, moved_to=0, erased=0)


def test_a_fresh_checkpoint_has_no_work_and_no_lease() -> None:
    fresh = msgspec.json.decode(b'{"generation":"0a1b","partitions":4}', type=Checkpoint)
    assert (fresh.intent, fresh.lease, fresh.dirty_days, fresh.positions) == (None, None, [], {})
    taken = [PartitionRange("t", 0, None, "1@a"), PartitionRange("t", 3, None, "2@a")]
    assert fresh.moved(taken) == {"t": {"0": "1@a", "3": "2@a"}}
    assert fresh.positions == {}
