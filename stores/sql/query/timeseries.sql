-- The numbers of `stats` for every {interval} (hour, day, week, month, as {timezone} has them; weeks begin on
-- Monday) that the span [{from_ms}, {to_ms}) touches, those without anything included. `bucket` is the interval's
-- start. The starts are found by stepping through the span in half hours, which no change of the clocks breaks.
WITH
    fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AS since,
    fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC') AS until
SELECT
    toTimeZone(buckets.bucket, 'UTC') AS bucket,
    visitors, visits, pageviews, searches, events,
    if(visits = 0, 0, pageviews / visits) AS views_per_visit,
    if(visits = 0, 0, bounces / visits) AS bounce_rate,
    if(visits = 0, 0, duration_ms / visits / 1000) AS visit_duration
FROM
(
    SELECT DISTINCT toDateTime64(
        date_trunc({interval:String}, since + toIntervalSecond(number * 1800), {timezone:String}),
        3, {timezone:String}
    ) AS bucket
    FROM numbers(toUInt64(greatest(0, intDiv({to_ms:Int64} - {from_ms:Int64} + 1799999, 1800000))))
) AS buckets
LEFT JOIN
(
    SELECT
        toDateTime64(date_trunc({interval:String}, started_at, {timezone:String}), 3, {timezone:String}) AS bucket,
        uniqExact(visitor) AS visitors,
        count() AS visits,
        countIf(is_bounce) AS bounces,
        sum(toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at)) AS duration_ms
    FROM session_rows FINAL
    WHERE site = {site:String} AND started_at >= since AND started_at < until
        AND day BETWEEN toDate(since) AND toDate(until)
    GROUP BY bucket
) AS of_sessions ON of_sessions.bucket = buckets.bucket
LEFT JOIN
(
    SELECT
        toDateTime64(date_trunc({interval:String}, occurred_at, {timezone:String}), 3, {timezone:String}) AS bucket,
        countIf(type = 'pageview') AS pageviews,
        countIf(type = 'search') AS searches,
        count() AS events
    FROM event_rows FINAL
    WHERE site = {site:String} AND bot = '' AND occurred_at >= since AND occurred_at < until
        AND day BETWEEN toDate(since) AND toDate(until)
    GROUP BY bucket
) AS of_events ON of_events.bucket = buckets.bucket
ORDER BY bucket
