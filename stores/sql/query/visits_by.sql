-- The visits that began in the span [{from_ms}, {to_ms}), by a column {by} of theirs. Page views and events are
-- those of the visits. A visit without a page view has neither entry nor exit page, and is left out there.
WITH
    fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AS since,
    fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC') AS until
SELECT
    toString({by:Identifier}) AS value,
    uniqExact(visitor) AS visitors,
    count() AS visits,
    sum(s.pageviews) AS pageviews,
    sum(s.events) AS events
FROM session_rows AS s FINAL
WHERE site = {site:String} AND started_at >= since AND started_at < until
    AND day BETWEEN toDate(since) AND toDate(until)
    AND ({with_empty:Bool} OR value != '')
GROUP BY value
ORDER BY visitors DESC, visits DESC, value
LIMIT {limit:UInt32}
