-- Day by day, the visits that began in it, by each of {dimensions} that is a column of theirs; the dimension '' is all of
-- them. Page views, searches and events are those of the visits. A visit without a page view has neither entry nor exit
-- page, and is left out there; so is one without a campaign or another utm field.
-- The days are {dates}, which begin at {starts}. {bounds} are these starts, and the starts of the times between them that
-- are not asked for, all in Unix ms; {days} are the UTC days of the former. `whose` says which visitors count.
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    by.1 AS dimension,
    by.2 AS value,
    uniqExactIf(visitor, NOT lasts) AS visitors,
    uniqExactIf(visitor, lasts) AS regulars,
    uniqStateIf(visitor, lasts) AS lasting,
    count() AS visits,
    count() AS landings,
    countIf(is_bounce) AS bounces,
    toInt64(sum(toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at))) AS duration_ms,
    countIf(is_engaged) AS engaged,
    toInt64(sum(s.engaged_ms)) AS engaged_ms,
    toInt64(sum(s.pageviews)) AS pageviews,
    toInt64(sum(s.searches)) AS searches,
    toInt64(sum(s.events)) AS events,
    toInt64(0) AS bots,
    toInt64(0) AS without_results
FROM
(
    SELECT
        visitor, started_at, ended_at, is_bounce, is_engaged, engaged_ms, pageviews, searches, events,
        roundDown(toUnixTimestamp64Milli(started_at), {bounds:Array(Int64)}) AS start,
        arrayJoin(arrayFilter(
            each -> has({dimensions:Array(String)}, each.1)
                AND (each.2 != '' OR each.1 NOT IN (
                    'entry_page', 'exit_page', 'campaign', 'utm_source', 'utm_medium', 'utm_term', 'utm_content'
                )),
            [
                ('', ''), ('entry_page', entry_page), ('exit_page', exit_page), ('source', toString(source)),
                ('channel', toString(channel)), ('campaign', toString(utm_campaign)), ('country', toString(country)),
                ('region', toString(region)), ('city', toString(city)), ('language', toString(language)),
                ('device', toString(device)), ('browser', toString(browser)), ('os', toString(os)),
                ('utm_source', utm.1), ('utm_medium', utm.2), ('utm_term', utm.3), ('utm_content', utm.4)
            ]
        )) AS by,
        visitor GLOBAL IN (
            SELECT visitor FROM event_rows
            WHERE site = {site:String} AND day IN {days:Array(Date)}
                AND (protocol = 'import' OR endsWith(enriched_by, ' visitor=named'))
        ) AS lasts
    FROM
    (
        SELECT *
        FROM session_rows FINAL
        WHERE site = {site:String} AND day IN {days:Array(Date)}
            AND
            -- whose
    ) AS v
    LEFT JOIN
    (
        -- utm
    ) AS u USING (visitor, session_id)
    WHERE start IN {starts:Array(Int64)}
) AS s
GROUP BY start, dimension, value
