-- Day by day, the events of it, as the value 'events' of the dimension ''. The days are given as in `visits`. Bots build
-- no sessions; their events are counted apart, and all of them, whichever visitors `whose` says.
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
    toInt64(countIf(bot = '' AND type = 'pageview')) AS pageviews,
    toInt64(countIf(bot = '' AND type = 'search')) AS searches,
    toInt64(countIf(bot = '')) AS events,
    toInt64(countIf(bot != '')) AS bots,
    toInt64(0) AS without_results
FROM event_rows AS e FINAL
WHERE site = {site:String} AND e.day IN {days:Array(Date)} AND start IN {starts:Array(Int64)}
    AND (bot != '' OR
    -- whose
    )
GROUP BY roundDown(toUnixTimestamp64Milli(occurred_at), {bounds:Array(Int64)}) AS start
