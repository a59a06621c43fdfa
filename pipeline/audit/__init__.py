"""The audit: where every accepted event of an hour went, from three sources that do not know each other.

By the hour in which events were received:

    received = accepted + refused + duplicates at the door
    accepted = stored + duplicate + dead-lettered + erased + expired + in flight

*Accepted* are the records of the events' topics, counted in the log. *Stored* are the events that the warehouse has. A
*duplicate* is a record whose event is stored, by an earlier copy or by another one of the hour: its key was looked up.
*Dead-lettered* are records that are no events and are in the table of dead letters; *in flight* those that the loader
has not committed. What `forget` or the retention of a site took out of log and warehouse is *erased* or *expired*, by
the loss account, and by the tombstones where the log still has it.

Once the log has removed records by its own retention, the archive's files stand in for them, and where there is no
archive the stored events themselves: `beyond_log` says how many of the accepted ones are counted so.

So nothing is defined as what is left over: a record whose event is not stored is named with topic, partition and range
of positions, as are those that the archive lacks or that it has and the log does not. The archive's manifest has to
have as many rows of an hour as the log has records, and each of its files has to be there with its size. What the door
counted (`ingest.outcomes`) is checked in one direction: it may say less than the log, as it dies with its process.
"""

from __future__ import annotations

from pipeline.audit.account import HourAccount, Mismatch, Sources, audit, told

__all__ = ["HourAccount", "Mismatch", "Sources", "audit", "told"]
