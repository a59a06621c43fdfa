"""Replay: the same sessions again from the raw events, and the proof that they are the same.

Raw events come from the broker's log or from the archive and go through the one graph from an empty state, part by
part. A part is some days in a row with about a million events: each is built, compared with what is stored, its
difference written, its days reported, and then forgotten. So memory does not grow with the window, and the first
digest comes with the first part. A day that is larger than that is a part of its own with more shards.

While a part is built, the live run goes on. Then the replay takes a lease of the unit, for this part alone, and
catches up with what was committed in the meantime: the few visitors that it touched are formed once more from the
stored events. Stored events that are missing or differ from the source are written again, and rollups are brought to
the counts of the raw events by a signed difference. If the warehouse holds events of the part that the source no
longer has (retention removed them), nothing of the part is written: a replay must not forget.

Where sessions differ, a report says how many are added, removed and changed, with an example of each (`changes`).

A journal says which parts are done. The same command after a kill reports them from there and goes on behind them.

When the checkpoint is gone or damaged, nothing says how far the log was loaded. Then everything that the source
holds is replayed, up to the ends of the log as they are, and with the commit of the last part a checkpoint is begun
there.
"""

from __future__ import annotations

from pipeline.replay.driver import Incomplete, Progress, Watch, day_ms, replay
from pipeline.replay.journal import Report

__all__ = ["Incomplete", "Progress", "Report", "Watch", "day_ms", "replay"]
