-- Day by day, the visits that began in it or did something in it, a row each: what is known of the visit, and what it did
-- that day. The days are given as in `visits`. `page` has the pages of its events that day, with its views of each, which
-- may be none, all events on it and how long it was engaged there; `search` its terms, `event` its custom events by name,
-- `not_found` missing pages, `outbound` links out and `download` downloads, each by where it leads.
-- What the visit viewed, searched for and did on other days is in the columns `…_elsewhere`, so that a filter meets it as
-- a whole; `props` has the properties of its custom events, each as name, zero byte, value.
-- `step` has, where the visit began, what it did on all days in order: its page views (kind 1), searches (2), custom events
-- (3), properties of these (4), missing pages (5), links out (6) and downloads (7), as it has them elsewhere. Steps of one
-- event have one number in `step.event`, `step.at` is its time (Unix ms), `step.results` how many results a search told
-- of, -1 where it told of none.
-- `again` says that its visitor has other rows on that day. An event's visit is found as in `events`; an event without
-- one, which came late and was not reconciled yet, is left out. Visits that go on over midnight are looked up in
-- {near_days}: {days} and two days before and after each. `whose` says of which visitors visits are asked for.
WITH 1 AS page, 2 AS search, 3 AS custom, 4 AS prop, 5 AS missing, 6 AS outbound, 7 AS download
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    visitor, session_id, started_at, begun = start AS began, lasts,
    count() OVER (PARTITION BY start, visitor) > 1 AS again,
    is_bounce, is_engaged, duration_ms, visit_engaged_ms, visit_pageviews, visit_searches, visit_events,
    entry_page, exit_page, source, channel, campaign, country, region, city, language, device, browser, os,
    utm.1 AS utm_source, utm.2 AS utm_medium, utm.3 AS utm_term, utm.4 AS utm_content,
    toUInt32(arraySum(each -> each.views, here)) AS pageviews,
    toUInt32(arraySum(each -> each.events * (each.by = search), here)) AS searches,
    toUInt32(arraySum(each -> each.events * (each.by = page), here)) AS events,
    arrayFilter(each -> each.by = page AND each.value != '', here) AS pages,
    arrayFilter(each -> each.by = search AND each.value != '', here) AS terms,
    arrayFilter(each -> each.by = custom AND each.value != '', here) AS names,
    arrayFilter(each -> each.by = missing AND each.value != '', here) AS missed,
    arrayFilter(each -> each.by = outbound AND each.value != '', here) AS followed,
    arrayFilter(each -> each.by = download AND each.value != '', here) AS loaded,
    pages.value AS `page.value`, pages.views AS `page.views`, pages.events AS `page.events`,
    pages.stayed AS `page.engaged_ms`,
    terms.value AS `search.value`, terms.events AS `search.events`, terms.nothing AS `search.nothing`,
    names.value AS `event.value`, names.events AS `event.events`,
    missed.value AS `not_found.value`, missed.events AS `not_found.events`,
    followed.value AS `outbound.value`, followed.events AS `outbound.events`,
    loaded.value AS `download.value`, loaded.events AS `download.events`,
    arrayMap(each -> each.value, arrayFilter(each -> each.views > 0, elsewhere)) AS pages_elsewhere,
    arrayMap(each -> each.value, arrayFilter(each -> each.by = search, elsewhere)) AS searches_elsewhere,
    arrayMap(each -> each.value, arrayFilter(each -> each.by = custom, elsewhere)) AS events_elsewhere,
    arrayMap(each -> each.value, arrayFilter(each -> each.by = missing, elsewhere)) AS not_found_elsewhere,
    arrayMap(each -> each.value, arrayFilter(each -> each.by = outbound, elsewhere)) AS outbound_elsewhere,
    arrayMap(each -> each.value, arrayFilter(each -> each.by = download, elsewhere)) AS download_elsewhere,
    arrayMap(each -> each.value, arrayFilter(each -> each.by = prop, did)) AS props,
    arraySort(if(
        began,
        arrayFlatten(arrayMap(each -> arrayMap(time -> (time, each.by, each.value), each.times), did)),
        []
    )) AS steps,
    arrayMap(each -> each.2, steps) AS `step.kind`,
    arrayMap(each -> each.3, steps) AS `step.value`,
    arrayEnumerateDense(arrayMap(each -> (each.1.at, each.1.id_hi, each.1.id_lo), steps)) AS `step.event`,
    arrayMap(each -> each.1.at, steps) AS `step.at`,
    arrayMap(each -> each.1.results, steps) AS `step.results`
FROM
(
    SELECT
        *,
        arrayJoin(arrayDistinct(arrayPushFront(did.at, begun))) AS start,
        arrayFilter(each -> each.at = start, did) AS here,
        if(length(here) = length(did), [], arrayFilter(each -> each.at != start, did)) AS elsewhere
    FROM
    (
        SELECT
            visitor, session_id, started_at, is_bounce, is_engaged, entry_page, exit_page,
            source, channel, utm_campaign AS campaign, country, region, city, language, device, browser, os, utm,
            pageviews AS visit_pageviews, searches AS visit_searches, events AS visit_events,
            engaged_ms AS visit_engaged_ms,
            toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at) AS duration_ms,
            roundDown(toUnixTimestamp64Milli(started_at), {bounds:Array(Int64)}) AS begun,
            visitor GLOBAL IN (
                SELECT visitor FROM event_rows
                WHERE site = {site:String} AND day IN {days:Array(Date)}
                    AND (protocol = 'import' OR endsWith(enriched_by, ' visitor=named'))
            ) AS lasts
        FROM
        (
            SELECT *
            FROM session_rows FINAL
            WHERE site = {site:String} AND day IN {visit_days:Array(Date)}
                AND
                -- whose
        ) AS v
        LEFT JOIN
        (
            -- utm
        ) AS u USING (visitor, session_id)
    ) AS visits
    LEFT JOIN
    (
        SELECT
            visitor, session_id,
            groupArray((at, by, value, views, events, nothing, stayed, times)::Tuple(
                at Int64, by UInt8, value String, views UInt32, events UInt32, nothing UInt32, stayed Int64,
                times Array(Tuple(at Int64, id_hi UInt64, id_lo UInt64, results Int64))
            )) AS did
        FROM
        (
            SELECT
                visitor, session_id, at, what.1 AS by, what.2 AS value,
                countIf(by = page AND type = 'pageview') AS views,
                count() AS events,
                countIf(results = 0) AS nothing,
                sum(engaged_ms) AS stayed,
                groupArrayIf(
                    (toUnixTimestamp64Milli(occurred_at), id_hi, id_lo, if(by = search, ifNull(results, -1), -1)),
                    by != page OR type = 'pageview'
                ) AS times
            FROM
            (
                SELECT
                    e.visitor AS visitor, session_id, occurred_at, id_hi, id_lo, type, results, engaged_ms,
                    arrayJoin(whats) AS what,
                    roundDown(toUnixTimestamp64Milli(occurred_at), {bounds:Array(Int64)}) AS at
                FROM
                (
                    SELECT
                        visitor, occurred_at, id_hi, id_lo, type, results, engaged_ms,
                        -- target
                        AS target,
                        arrayMap(each -> (
                            prop, concat(each.1, '\0', if(startsWith(each.2, '"'), JSONExtractString(each.2), each.2))
                        ), JSONExtractKeysAndValuesRaw(if(type = 'custom', props, '{}'))) AS properties,
                        multiIf(
                            type = 'search', [(page, path), (search, term)],
                            type = 'custom', arrayConcat([(page, path), (custom, toString(name))], properties),
                            type = 'not_found', [(page, path), (missing, path)],
                            type = 'outbound', [(page, path), (outbound, target)],
                            type = 'download', [(page, path), (download, target)],
                            [(page, path)]
                        ) AS whats
                    FROM event_rows FINAL
                    WHERE site = {site:String} AND bot = '' AND day IN {near_days:Array(Date)}
                        AND (day IN {days:Array(Date)} OR visitor GLOBAL IN (
                            SELECT visitor FROM session_rows
                            WHERE site = {site:String} AND day IN {near_days:Array(Date)}
                                AND toDate(started_at) != toDate(ended_at)
                        ))
                        AND
                        -- whose
                ) AS e
                ASOF JOIN
                (
                    SELECT visitor, session_id, started_at, ended_at
                    FROM session_rows FINAL
                    WHERE site = {site:String} AND day IN {near_days:Array(Date)}
                        AND
                        -- whose
                ) AS s ON e.visitor = s.visitor AND e.occurred_at >= s.started_at
                WHERE occurred_at <= ended_at
            )
            GROUP BY visitor, session_id, at, what
        )
        GROUP BY visitor, session_id
    ) AS events USING (visitor, session_id)
)
WHERE start IN {starts:Array(Int64)}
