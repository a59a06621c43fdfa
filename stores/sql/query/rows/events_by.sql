-- Day by day, what persons did in it: events of one type {kind} by a column {by} of theirs, and in how many visits. The
-- days are given as in `visits_by`. Of pages, `events` are all events on them; of searches and custom events it is these themselves, and
-- `without_results` says how many searches found nothing, as far as the page told.
-- An event's visit is the session of its visitor that began last before it. Sessions are cut after two days at the
-- latest, so none that began earlier can hold it.
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    value,
    uniqExactIf(visitor, type = {kind:String} AND NOT lasts) AS visitors,
    uniqExactIf(visitor, type = {kind:String} AND lasts) AS regulars,
    uniqStateIf(visitor, type = {kind:String} AND lasts) AS lasting,
    uniqExactIf((visitor, session_id), type = {kind:String}) AS visits,
    toUInt64(0) AS bounces,
    toInt64(0) AS duration_ms,
    toInt64(countIf(type = 'pageview')) AS pageviews,
    toInt64(countIf(type = 'search')) AS searches,
    toInt64(count()) AS events,
    toInt64(0) AS bots,
    toInt64(countIf(results = 0)) AS without_results
FROM
(
    SELECT
        toString({by:Identifier}) AS value, type, results, visitor, occurred_at,
        roundDown(toUnixTimestamp64Milli(occurred_at), {bounds:Array(Int64)}) AS start,
        protocol = 'import' OR endsWith(enriched_by, ' visitor=named') AS lasts
    FROM event_rows FINAL
    WHERE site = {site:String} AND day IN {days:Array(Date)} AND bot = ''
        AND ({kind:String} = 'pageview' OR type = {kind:String})
        AND start IN {starts:Array(Int64)}
        AND value != ''
) AS e
ASOF LEFT JOIN
(
    SELECT visitor, session_id, started_at
    FROM session_rows FINAL
    WHERE site = {site:String}
        AND day IN arrayDistinct(arrayFlatten(arrayMap(day -> [day, day - 1, day - 2], {days:Array(Date)})))
) AS s ON e.visitor = s.visitor AND e.occurred_at >= s.started_at
GROUP BY start, value
