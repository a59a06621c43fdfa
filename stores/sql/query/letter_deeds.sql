-- The last deed to each of the dead letters {ids}: what it was, when (Unix ms), and the bytes that it left. What was replayed
-- stays replayed, whatever somebody who did not know it yet noted afterwards.
SELECT
    id, argMax(d.deed, (d.deed = 'replayed', d.at)) AS deed,
    toUnixTimestamp64Milli(argMax(d.at, (d.deed = 'replayed', d.at))) AS deed_at,
    argMax(d.bytes, (d.deed = 'replayed', d.at)) AS left
FROM letter_deeds AS d
WHERE id IN {ids:Array(String)}
GROUP BY id
