-- Day by day, the visits that began in it or of which events occurred in it, a row each: what is known of the visit, what it
-- did that day by page, term and custom event, and of which visitor it is. The days are given as in `visits`.
-- A list of values has all that the visit did, also on other days, so that a filter meets the visit as a whole; the
-- numbers beside it are those of the day. Pages are those that were viewed; what happened on other pages is in `unviewed`.
-- `again` says that its visitor may have other rows on that day.
-- Visits that go on over midnight are looked up in {near_days}: two days before and after those asked for, as a visit is
-- cut after two days at the latest. An event's visit is found as in `events`; an event without one is left out.
WITH
    fromUnixTimestamp64Milli(0, 'UTC') AS never,
    crossing AS
    (
        SELECT visitor FROM session_rows
        WHERE site = {site:String} AND day IN {near_days:Array(Date)} AND toDate(started_at) != toDate(ended_at)
    )
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    visitor,
    session_id,
    start = begun AS began,
    count() OVER (PARTITION BY start, visitor) > 1 AS again,
    lasts,
    is_bounce,
    duration_ms,
    visit_pageviews,
    visit_searches,
    visit_events,
    entry_page, exit_page, source, channel, country, device, browser, os,
    arrayFilter(each -> each.1 = start AND each.2 = '', did)[1] AS all_of_it,
    arrayFilter(each -> each.2 = 'page' AND each.4 > 0, did) AS viewed
FROM
(
SELECT s.visitor AS visitor FROM session_rows AS s
)
