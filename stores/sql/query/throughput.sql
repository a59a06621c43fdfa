-- Events of people of all sites by the minute in which they occurred, from {from_ms} on; `minute` is its start in Unix ms.
SELECT toUnixTimestamp64Milli(r.bucket) AS minute, sum(r.events) AS counted
FROM rollup_1m_rows AS r
WHERE r.dimension = '' AND r.bucket >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
GROUP BY minute
HAVING counted != 0
ORDER BY minute
