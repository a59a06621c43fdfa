-- The last deed to each of the dead letters {ids}: what it was, when (Unix ms), and the bytes that it left.
SELECT id, argMax(d.deed, d.at) AS deed, toUnixTimestamp64Milli(max(d.at)) AS deed_at, argMax(d.bytes, d.at) AS left
FROM letter_deeds AS d
WHERE id IN {ids:Array(String)}
GROUP BY id
