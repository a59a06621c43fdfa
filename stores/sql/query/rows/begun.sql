-- The visits that began on some days, with what their sessions say of them; columns as in `day_visits`. The days are given
-- as in `visits`.
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    visitor, session_id, started_at, true AS began, is_bounce,
    toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at) AS duration_ms,
    toUInt32(pageviews) AS visit_pageviews, toUInt32(searches) AS visit_searches, toUInt32(events) AS visit_events,
    entry_page, exit_page, source, channel, utm_campaign AS campaign, country, region, city, language, device, browser, os,
    roundDown(toUnixTimestamp64Milli(started_at), {bounds:Array(Int64)}) AS start
FROM session_rows AS s FINAL
WHERE site = {site:String} AND s.day IN {days:Array(Date)} AND start IN {starts:Array(Int64)}
