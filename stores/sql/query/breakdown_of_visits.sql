-- The visits that began in the days {from} to {to} in {timezone}, by one of their columns: entry_page, exit_page,
-- source, channel, country, device, browser, os. Page views and events are those of the visits.
WITH
    toDateTime64(toString({from:Date}), 3, {timezone:String}) AS since,
    toDateTime64(toString(addDays({to:Date}, 1)), 3, {timezone:String}) AS until
SELECT
    toString({by:Identifier}) AS value,
    uniqExact(visitor) AS visitors,
    count() AS visits,
    sum(s.pageviews) AS pageviews,
    sum(s.events) AS events
FROM session_rows AS s FINAL
WHERE site = {site:String} AND started_at >= since AND started_at < until
    AND day BETWEEN toDate(since, 'UTC') AND toDate(until, 'UTC')
GROUP BY value
ORDER BY visitors DESC, visits DESC, value
LIMIT {limit:UInt32}
