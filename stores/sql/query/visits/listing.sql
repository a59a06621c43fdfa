-- The visits one by one, the latest first: from the {offset}-th on, {limit} of them. Identifiers are hexadecimal text.
SELECT
    lower(leftPad(hex(visitor), 16, '0')) AS visitor,
    lower(leftPad(hex(session_id), 16, '0')) AS session_id,
    toUnixTimestamp64Milli(started_at) AS started_ms,
    duration_ms,
    visit_pageviews AS pageviews,
    visit_searches AS searches,
    visit_events AS events,
    is_bounce, entry_page, exit_page, source, channel, campaign, country, region, city, language, device, browser, os
FROM
(
    SELECT *
    FROM
    (
        -- visits
    )
    WHERE began AND
        -- chosen
)
ORDER BY day DESC, started_ms DESC, session_id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
