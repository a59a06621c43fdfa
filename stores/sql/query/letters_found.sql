-- Dead letters received in [{from_ms}, {to_ms}), the newest first, those before the one of {before_ms} and {before_id}: of
-- reasons that begin with {reason}, of {site} ("" is any, "-" none) and of {ids}, if there are any. Without {all} those that
-- were replayed or discarded are left out; {from_id} is the least id of the span.
SELECT
    id, toUnixTimestamp64Milli(letters.received_at) AS received_at, topic, reason, site, visitor, detail, length, sender,
    bytes AS received
FROM dead_letters AS letters
WHERE letters.received_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND letters.received_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND (letters.received_at, id) < (fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC'), {before_id:String})
    AND startsWith(reason, {reason:String})
    AND ({site:String} = '' OR site = if({site:String} = '-', '', {site:String}))
    AND (empty({ids:Array(String)}) OR id IN {ids:Array(String)})
    AND ({all:Bool} OR id GLOBAL NOT IN (
        SELECT id FROM letter_deeds WHERE id >= {from_id:String}
        GROUP BY id HAVING argMax(deed, (deed = 'replayed', at)) IN ('replayed', 'discarded')
    ))
ORDER BY letters.received_at DESC, id DESC
LIMIT 1 BY id
LIMIT {limit:UInt32}
