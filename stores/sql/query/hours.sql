-- The numbers of `stats` for every hour, as {timezone} has them, that the span [{from_ms}, {to_ms}) touches, those
-- without anything included. `bucket` is the hour's start. The starts are found by stepping through the span in
-- quarters of an hour: clocks change at one.
--
-- An hour begins when the clock shows it full, or when a change of the clocks jumps into it. date_trunc counts hours
-- from midnight instead, and is half an hour off after a change by half an hour. Here the minutes that the clock shows
-- are taken off; if the clocks were changed since, the change is looked for, and the hour
-- began with it, unless the clock showed the same hour a minute before: then some minutes of it came twice.
WITH
    fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AS since,
    fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC') AS until,
    (at -> timezoneOffset(toTimeZone(at, {timezone:String}))) AS offset_at,
    (at -> fromUnixTimestamp64Milli(
        60000 * (intDiv(toUnixTimestamp64Milli(at), 60000) - toMinute(at, {timezone:String})), 'UTC'
    )) AS without_minutes,
    (at -> arrayFirst(
        quarter -> offset_at(quarter - toIntervalMinute(1)) != offset_at(at),
        arrayMap(
            back -> fromUnixTimestamp64Milli(900000 * (intDiv(toUnixTimestamp64Milli(at), 900000) - back), 'UTC'),
            range(4)
        )
    )) AS last_change,
    ((before, change, at) -> if(
        toHour(before, {timezone:String}) = toHour(at, {timezone:String}), without_minutes(before), change
    )) AS begun_around,
    (at -> if(
        offset_at(without_minutes(at)) = offset_at(at),
        without_minutes(at),
        begun_around(last_change(at) - toIntervalMinute(1), last_change(at), at)
    )) AS hour_of,
    (at -> toTimeZone(hour_of(at), 'UTC')) AS start_of,
    900 AS step
SELECT
    buckets.bucket AS bucket,
    visitors, visits, pageviews, searches, events,
    if(visits = 0, 0, pageviews / visits) AS views_per_visit,
    if(visits = 0, 0, bounces / visits) AS bounce_rate,
    if(visits = 0, 0, duration_ms / visits / 1000) AS visit_duration
FROM
(
    SELECT DISTINCT start_of(since + toIntervalSecond(number * step)) AS bucket
    FROM numbers(toUInt64(greatest(0, intDiv({to_ms:Int64} - {from_ms:Int64} + step * 1000 - 1, step * 1000))))
) AS buckets
LEFT JOIN
(
    SELECT
        start_of(started_at) AS bucket,
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
        start_of(occurred_at) AS bucket,
        countIf(type = 'pageview') AS pageviews,
        countIf(type = 'search') AS searches,
        count() AS events
    FROM event_rows FINAL
    WHERE site = {site:String} AND bot = '' AND occurred_at >= since AND occurred_at < until
        AND day BETWEEN toDate(since) AND toDate(until)
    GROUP BY bucket
) AS of_events ON of_events.bucket = buckets.bucket
ORDER BY bucket
