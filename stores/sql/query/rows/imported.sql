-- The rows of {dimensions} that other products say of the days from {imported_first} to {imported_last}: {imported} has whose
-- count, day by day, "" for nobody's; of each part of an export, the version that counts.
SELECT
    day, dimension, value, visitors, toUInt64(0) AS regulars, arrayReduce('uniqState', emptyArrayUInt64()) AS lasting,
    visits, visits AS landings, bounces, duration_ms, toUInt64(0) AS engaged, toInt64(0) AS engaged_ms, pageviews,
    toInt64(0) AS searches, events, toInt64(0) AS bots, toInt64(0) AS without_results
FROM imported_days
WHERE site = {site:String} AND dimension IN {dimensions:Array(String)}
    AND day BETWEEN {imported_first:Date32} AND {imported_last:Date32}
    AND product = ({imported:Array(String)})[dateDiff('day', {imported_first:Date32}, day) + 1]
    AND (product, part, day, version) GLOBAL IN (
        SELECT product, part, day, version FROM imported_parts FINAL WHERE site = {site:String}
    )
