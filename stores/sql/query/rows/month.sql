-- The rows of a month, whose days from {first} on have these {versions}, day by day, 0 for a day without a build: those of
-- the days added up.
SELECT
    dimension,
    value,
    toUInt64(sum(v.visitors)) AS visitors,
    toUInt64(sum(v.regulars)) AS regulars,
    uniqMergeState(v.lasting) AS lasting,
    toUInt64(sum(v.visits)) AS visits,
    toUInt64(sum(v.bounces)) AS bounces,
    toInt64(sum(v.duration_ms)) AS duration_ms,
    toUInt64(sum(v.engaged)) AS engaged,
    toInt64(sum(v.engaged_ms)) AS engaged_ms,
    toInt64(sum(v.pageviews)) AS pageviews,
    toInt64(sum(v.searches)) AS searches,
    toInt64(sum(v.events)) AS events,
    toInt64(sum(v.bots)) AS bots,
    toInt64(sum(v.without_results)) AS without_results
FROM day_values AS v
WHERE site = {site:String} AND day BETWEEN {first:Date32} AND {last:Date32}
    AND version = ({versions:Array(UInt64)})[dateDiff('day', {first:Date32}, day) + 1]
GROUP BY dimension, value
