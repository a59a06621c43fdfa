-- Distinct visitors of a site from {from_ms} until {until_ms} (Unix ms). Without FINAL, which costs ten times as much:
-- a visitor counts too whose events a later batch took back.
WITH fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AS start, fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC') AS end
SELECT uniqExact(visitor) AS visitors
FROM event_rows
WHERE site = {site:String} AND bot = '' AND deleted = 0 AND occurred_at >= start AND occurred_at < end
    AND day BETWEEN toDate(start) AND toDate(end)
