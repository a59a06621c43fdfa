-- Pages seen by persons in the days {from} to {to} in {timezone}: who saw them, in how many visits, how often, and
-- all events on them. A visit is the session of the visitor that began last before the event; sessions are cut
-- after two days at the latest, so those that began earlier cannot hold it.
WITH
    toDateTime64(toString({from:Date}), 3, {timezone:String}) AS since,
    toDateTime64(toString(addDays({to:Date}, 1)), 3, {timezone:String}) AS until
SELECT
    path AS value,
    uniqExactIf(visitor, type = 'pageview') AS visitors,
    uniqExactIf((visitor, session_id), type = 'pageview') AS visits,
    countIf(type = 'pageview') AS pageviews,
    count() AS events
FROM
(
    SELECT path, type, visitor, occurred_at
    FROM event_rows FINAL
    WHERE site = {site:String} AND bot = '' AND path != '' AND occurred_at >= since AND occurred_at < until
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
HAVING pageviews > 0
ORDER BY visitors DESC, pageviews DESC, value
LIMIT {limit:UInt32}
