-- Distinct visitors of the five minutes up to {now_ms}.
WITH fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC') AS until
SELECT uniqExact(visitor) AS visitors
FROM event_rows FINAL
WHERE site = {site:String} AND bot = '' AND occurred_at > until - INTERVAL 5 MINUTE AND occurred_at <= until
    AND day BETWEEN toDate(until - INTERVAL 5 MINUTE) AND toDate(until)
