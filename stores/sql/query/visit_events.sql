-- What a visitor did from {start} until before {end} (Unix ms), in order.
SELECT
    toUnixTimestamp64Milli(occurred_at) AS at,
    lower(leftPad(hex(id_hi), 16, '0') || leftPad(hex(id_lo), 16, '0')) AS id,
    type, host, path, title, referrer, term, results, name, props, revenue, currency, engaged_ms
FROM event_rows FINAL
WHERE site = {site:String} AND visitor = {visitor:UInt64} AND bot = ''
    AND toUnixTimestamp64Milli(occurred_at) BETWEEN {start:Int64} AND {end:Int64} - 1
ORDER BY occurred_at, id_hi, id_lo
LIMIT {limit:UInt32}
