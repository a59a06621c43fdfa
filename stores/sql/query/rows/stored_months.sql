-- The rows of {dimensions} for {months}, which are made with {month_versions}; the day of a row is the month's first.
SELECT
    month AS day, dimension, value, visitors, regulars, lasting, visits, visits AS landings, bounces, duration_ms,
    engaged, engaged_ms, pageviews, searches, events, bots, without_results
FROM month_values
WHERE site = {site:String} AND dimension IN {dimensions:Array(String)} AND month IN {months:Array(Date32)}
    AND version = ({month_versions:Array(UInt64)})[indexOf({months:Array(Date32)}, month)]
