-- What happens on a site at {now_ms} (Unix ms): how many `visitors` were active in the five minutes up to it ('' of ''),
-- which `page` each of them viewed last, from which `source` and `country` they are, and how many page views each
-- `minute` had: of the clock, 0 being the one that is running, 29 the earliest.
-- Versions of a row have one time, so rows may be left out by it before FINAL compares them.
WITH
    fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC') AS until,
    ['', 'page', 'source', 'country'] AS dimensions
SELECT (counted.1).1 AS dimension, (counted.1).2 AS value, toUInt64(sum(counted.2)) AS count
FROM
(
    SELECT arrayJoin(arrayConcat(
        arrayMap((dimension, value) -> ((dimension, value), recent), dimensions, ['', page, source, country]),
        arrayMap((minute, views) -> (('minute', toString(minute)), views), minutes.1, minutes.2)
    )) AS counted
    FROM
    (
        SELECT
            toUInt64(max(occurred_at) > until - INTERVAL 5 MINUTE) AS recent,
            argMaxIf(path, occurred_at, type = 'pageview') AS page,
            argMinIf(event_rows.source, occurred_at, event_rows.source != '') AS source,
            argMaxIf(event_rows.country, occurred_at, event_rows.country != '') AS country,
            sumMapIf(
                [toUInt8(dateDiff('minute', occurred_at, until))], [toUInt64(1)], type = 'pageview'
            ) AS minutes
        FROM event_rows FINAL
        PREWHERE occurred_at >= toStartOfMinute(until) - INTERVAL 29 MINUTE AND occurred_at <= until
        WHERE site = {site:String} AND bot = '' AND day BETWEEN toDate(until - INTERVAL 30 MINUTE) AND toDate(until)
        GROUP BY visitor
    )
)
GROUP BY counted.1
HAVING count > 0
ORDER BY count DESC, value
LIMIT 30 BY dimension
