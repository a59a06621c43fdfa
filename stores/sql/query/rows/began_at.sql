-- The visits that filters choose, by when they began: times, such as hours, are given as days are in `visits`.
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    '' AS dimension,
    '' AS value,
    uniqExactIf(visitor, NOT lasts) AS visitors,
    uniqExactIf(visitor, lasts) AS regulars,
    uniqStateIf(visitor, lasts) AS lasting,
    count() AS visits,
    countIf(lands) AS landings,
    countIf(lands AND is_bounce) AS bounces,
    toInt64(sum(v.duration_ms)) AS duration_ms,
    countIf(is_engaged) AS engaged,
    toInt64(sum(visit_engaged_ms)) AS engaged_ms,
    toInt64(0) AS pageviews,
    toInt64(0) AS searches,
    toInt64(0) AS events,
    toInt64(0) AS bots,
    toInt64(0) AS without_results
FROM
(
    SELECT
        visitor, lasts, is_bounce, duration_ms, is_engaged, visit_engaged_ms,
        -- landed
        AS lands,
        roundDown(toUnixTimestamp64Milli(started_at), {bounds:Array(Int64)}) AS start
    FROM
    (
        -- visits
    )
    WHERE began AND start IN {starts:Array(Int64)} AND
        -- chosen
) AS v
GROUP BY start
