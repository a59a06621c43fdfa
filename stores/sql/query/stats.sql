-- A site's numbers over the days {from} to {to}, both included, in {timezone}. Visitors, visits and what is said
-- of a visit come from the sessions that began in those days; page views, searches and events from the events
-- of persons that occurred in them. Bots build no sessions and are counted apart.
WITH
    toDateTime64(toString({from:Date}), 3, {timezone:String}) AS since,
    toDateTime64(toString(addDays({to:Date}, 1)), 3, {timezone:String}) AS until
SELECT
    visitors, visits, pageviews, searches, events, bots,
    if(visits = 0, 0, pageviews / visits) AS views_per_visit,
    bounce_rate, visit_duration
FROM
(
    SELECT
        uniqExact(visitor) AS visitors,
        count() AS visits,
        if(count() = 0, 0, countIf(is_bounce) / count()) AS bounce_rate,
        if(count() = 0, 0, sum(toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at)) / count() / 1000)
            AS visit_duration
    FROM session_rows FINAL
    WHERE site = {site:String} AND started_at >= since AND started_at < until
        AND day BETWEEN toDate(since, 'UTC') AND toDate(until, 'UTC')
) AS of_sessions,
(
    SELECT
        countIf(bot = '' AND type = 'pageview') AS pageviews,
        countIf(bot = '' AND type = 'search') AS searches,
        countIf(bot = '') AS events,
        countIf(bot != '') AS bots
    FROM event_rows FINAL
    WHERE site = {site:String} AND occurred_at >= since AND occurred_at < until
        AND day BETWEEN toDate(since, 'UTC') AND toDate(until, 'UTC')
) AS of_events
