-- One visit, and when the next one of its visitor began, which may be never.
SELECT *
FROM
(
    SELECT
        session_id,
        toUnixTimestamp64Milli(started_at) AS started_ms,
        toUnixTimestamp64Milli(ended_at) - started_ms AS duration_ms,
        events, pageviews, searches, engaged_ms, is_bounce, entry_page, exit_page, referrer, source, medium, channel,
        utm_campaign AS campaign, country, region, city, language, device, browser, os,
        leadInFrame(started_ms, 1, toInt64(9223372036854775807)) OVER (
            ORDER BY started_at, session_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS next_ms
    FROM session_rows FINAL
    WHERE site = {site:String} AND visitor = {visitor:UInt64}
)
WHERE session_id = {session:UInt64}
