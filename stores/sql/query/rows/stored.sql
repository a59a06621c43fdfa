-- The rows of {dimensions} for the days {taken}: from {first} on, day by day, {versions} has the version that counts.
SELECT
    day, dimension, value, visitors, regulars, lasting, visits, visits AS landings, bounces, duration_ms,
    engaged, engaged_ms, pageviews, searches, events, bots, without_results
FROM day_values
WHERE site = {site:String} AND dimension IN {dimensions:Array(String)} AND day IN {taken:Array(Date32)}
    AND version = ({versions:Array(UInt64)})[dateDiff('day', {first:Date32}, day) + 1]
