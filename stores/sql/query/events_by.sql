-- What persons did in the span [{from_ms}, {to_ms}): events of one type {kind} by a column {by} of theirs, and in how
-- many visits. Of pages, `events` are all events on them; of searches and custom events it is these themselves, and
-- `without_results` says how many searches found nothing, as far as the page told.
-- An event's visit is the session of its visitor that began last before it. Sessions are cut after two days at the
-- latest, so none that began earlier can hold it.
WITH
    fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AS since,
    fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC') AS until
SELECT
    value,
    uniqExactIf(visitor, type = {kind:String}) AS visitors,
    uniqExactIf((visitor, session_id), type = {kind:String}) AS visits,
    countIf(type = 'pageview') AS pageviews,
    count() AS events,
    countIf(results = 0) AS without_results
FROM
(
    SELECT toString({by:Identifier}) AS value, type, results, visitor, occurred_at
    FROM event_rows FINAL
    WHERE site = {site:String} AND bot = '' AND ({kind:String} = 'pageview' OR type = {kind:String})
        AND occurred_at >= since AND occurred_at < until AND day BETWEEN toDate(since) AND toDate(until)
        AND value != ''
) AS e
ASOF LEFT JOIN
(
    SELECT visitor, session_id, started_at
    FROM session_rows FINAL
    WHERE site = {site:String} AND started_at >= since - INTERVAL 2 DAY AND started_at < until
        AND day BETWEEN toDate(since) - 2 AND toDate(until)
) AS s ON e.visitor = s.visitor AND e.occurred_at >= s.started_at
GROUP BY value
HAVING countIf(type = {kind:String}) > 0
ORDER BY visitors DESC, if({kind:String} = 'pageview', pageviews, events) DESC, value
LIMIT {limit:UInt32}
