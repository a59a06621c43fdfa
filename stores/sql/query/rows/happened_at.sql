-- The events of visits that filters choose, by when they occurred: times are given as days are in `visits`, {days} are their UTC
-- days. Rows of `day_visits` are there for each day on which a visit did something.
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    '' AS dimension,
    'events' AS value,
    toUInt64(0) AS visitors,
    toUInt64(0) AS regulars,
    uniqStateIf(visitor, false) AS lasting,
    toUInt64(0) AS visits,
    toUInt64(0) AS landings,
    toUInt64(0) AS bounces,
    toInt64(0) AS duration_ms,
    toUInt64(0) AS engaged,
    toInt64(0) AS engaged_ms,
    toInt64(countIf(type = 'pageview')) AS pageviews,
    toInt64(countIf(type = 'search')) AS searches,
    toInt64(count()) AS events,
    toInt64(0) AS bots,
    toInt64(0) AS without_results
FROM
(
    SELECT
        visitor, type, toUnixTimestamp64Milli(occurred_at) AS at, roundDown(at, {bounds:Array(Int64)}) AS start
    FROM event_rows FINAL
    WHERE site = {site:String} AND bot = '' AND day IN {days:Array(Date)} AND start IN {starts:Array(Int64)}
) AS e
ASOF JOIN
(
    SELECT visitor, toUnixTimestamp64Milli(started_at) AS since, since + duration_ms AS until
    FROM
    (
        -- visits
    )
    WHERE
        -- chosen
) AS v ON e.visitor = v.visitor AND e.at >= v.since
WHERE at <= until
GROUP BY start
