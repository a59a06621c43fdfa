-- Day by day, the visits that began in it, by a column {by} of theirs. Page views, searches and events are those of the
-- visits. A visit without a page view has neither entry nor exit page, and is left out there.
-- The days are {dates}, which begin at {starts}. {bounds} are these starts, and the starts of the times between them that
-- are not asked for, all in Unix ms; {days} are the UTC days of the former.
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    toString({by:Identifier}) AS value,
    uniqExactIf(visitor, NOT lasts) AS visitors,
    uniqExactIf(visitor, lasts) AS regulars,
    uniqStateIf(visitor, lasts) AS lasting,
    count() AS visits,
    countIf(is_bounce) AS bounces,
    toInt64(sum(toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at))) AS duration_ms,
    toInt64(sum(s.pageviews)) AS pageviews,
    toInt64(sum(s.searches)) AS searches,
    toInt64(sum(s.events)) AS events,
    toInt64(0) AS bots,
    toInt64(0) AS without_results
FROM
(
    SELECT
        *,
        roundDown(toUnixTimestamp64Milli(started_at), {bounds:Array(Int64)}) AS start,
        visitor GLOBAL IN (
            SELECT visitor FROM event_rows
            WHERE site = {site:String} AND day IN {days:Array(Date)}
                AND (protocol = 'import' OR endsWith(enriched_by, ' visitor=named'))
        ) AS lasts
    FROM session_rows FINAL
    WHERE site = {site:String} AND day IN {days:Array(Date)} AND start IN {starts:Array(Int64)}
) AS s
WHERE {with_empty:Bool} OR value != ''
GROUP BY start, value
