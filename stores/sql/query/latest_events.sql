-- The latest {limit} events of people on a site in the 30 minutes up to {now_ms} (Unix ms), without who they were.
-- Versions of a row have one time, so rows may be left out by it before FINAL compares them.
WITH fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC') AS until
SELECT toUnixTimestamp64Milli(occurred_at) AS time, type, path, name, term, country, browser, device
FROM event_rows FINAL
PREWHERE occurred_at > until - INTERVAL 30 MINUTE AND occurred_at <= until
WHERE site = {site:String} AND bot = '' AND type NOT IN ('engagement', 'web_vital', 'identify')
    AND day BETWEEN toDate(until - INTERVAL 30 MINUTE) AND toDate(until)
ORDER BY occurred_at DESC, id_hi, id_lo
LIMIT {limit:UInt32}
