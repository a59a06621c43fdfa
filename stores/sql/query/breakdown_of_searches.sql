-- Terms that persons searched for in the days {from} to {to} in {timezone}. Events are the searches themselves,
-- `without_results` those of which the page said that they found nothing.
WITH
    toDateTime64(toString({from:Date}), 3, {timezone:String}) AS since,
    toDateTime64(toString(addDays({to:Date}, 1)), 3, {timezone:String}) AS until
SELECT
    term AS value,
    uniqExact(visitor) AS visitors,
    uniqExact((visitor, session_id)) AS visits,
    toUInt64(0) AS pageviews,
    count() AS events,
    countIf(results = 0) AS without_results
FROM
(
    SELECT term, results, visitor, occurred_at
    FROM event_rows FINAL
    WHERE site = {site:String} AND bot = '' AND type = 'search' AND term != ''
        AND occurred_at >= since AND occurred_at < until
        AND day BETWEEN toDate(since, 'UTC') AND toDate(until, 'UTC')
) AS e
ASOF LEFT JOIN
(
    SELECT visitor, session_id, started_at
    FROM session_rows FINAL
    WHERE site = {site:String} AND started_at >= since - INTERVAL 2 DAY AND started_at < until
        AND day BETWEEN toDate(since, 'UTC') - 2 AND toDate(until, 'UTC')
) AS s ON e.visitor = s.visitor AND e.occurred_at >= s.started_at
GROUP BY value
ORDER BY visitors DESC, events DESC, value
LIMIT {limit:UInt32}
