-- A site's numbers in the span [{from_ms}, {to_ms}). Visitors, visits and what is said of a visit come from the
-- sessions that began in it; page views, searches and events from the events of persons that occurred in it.
-- Bots build no sessions; their events are counted apart.
WITH
    fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AS since,
    fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC') AS until
SELECT
    visitors, visits, pageviews, searches, events, bots,
    if(visits = 0, 0, pageviews / visits) AS views_per_visit,
    if(visits = 0, 0, bounces / visits) AS bounce_rate,
    if(visits = 0, 0, duration_ms / visits / 1000) AS visit_duration
FROM
(
    SELECT
        uniqExact(visitor) AS visitors,
        count() AS visits,
        countIf(is_bounce) AS bounces,
        sum(toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at)) AS duration_ms
    FROM session_rows FINAL
    WHERE site = {site:String} AND started_at >= since AND started_at < until
        AND day BETWEEN toDate(since) AND toDate(until)
) AS of_sessions,
(
    SELECT
        countIf(bot = '' AND type = 'pageview') AS pageviews,
        countIf(bot = '' AND type = 'search') AS searches,
        countIf(bot = '') AS events,
        countIf(bot != '') AS bots
    FROM event_rows FINAL
    WHERE site = {site:String} AND occurred_at >= since AND occurred_at < until
        AND day BETWEEN toDate(since) AND toDate(until)
) AS of_events
