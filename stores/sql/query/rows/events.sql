-- Day by day, what persons did in it, by each of {dimensions} that is a page viewed, a term searched for or a custom
-- event's name, a missing page, a link out or a download, and in how many visits. The days are given as in `visits`. Of pages, `events` are all events on them; of
-- searches and custom events it is these themselves, and `without_results` says how many searches found nothing, as far
-- as the page told.
-- An event's visit is the session of its visitor that began last before it. Sessions are cut after two days at the
-- latest, so {visit_days}, which are {days} and the two days before each, have all that can hold it.
SELECT
    ({dates:Array(Date32)})[indexOf({starts:Array(Int64)}, start)] AS day,
    by.1 AS dimension,
    by.2 AS value,
    uniqExactIf(visitor, counts AND NOT lasts) AS visitors,
    uniqExactIf(visitor, counts AND lasts) AS regulars,
    uniqStateIf(visitor, counts AND lasts) AS lasting,
    uniqExactIf((visitor, session_id), counts) AS visits,
    toUInt64(0) AS landings,
    toUInt64(0) AS bounces,
    toInt64(0) AS duration_ms,
    toUInt64(0) AS engaged,
    toInt64(sumIf(engaged_ms, by.1 = 'page')) AS engaged_ms,
    toInt64(countIf(type = 'pageview')) AS pageviews,
    toInt64(countIf(type = 'search')) AS searches,
    toInt64(count()) AS events,
    toInt64(0) AS bots,
    toInt64(countIf(by.1 = 'search' AND results = 0)) AS without_results
FROM
(
    SELECT
        start, type, results, engaged_ms, visitor, session_id, lasts, arrayJoin(bys) AS by,
        by.1 != 'page' OR type = 'pageview' AS counts
    FROM
    (
        SELECT
            type, results, engaged_ms, visitor, occurred_at,
            roundDown(toUnixTimestamp64Milli(occurred_at), {bounds:Array(Int64)}) AS start,
            -- target
            AS target,
            arrayFilter(each -> has({dimensions:Array(String)}, each.1) AND each.2 != '', [
                ('page', path), ('search', if(type = 'search', term, '')),
                ('event', if(type = 'custom', toString(name), '')), ('not_found', if(type = 'not_found', path, '')),
                ('outbound', if(type = 'outbound', target, '')), ('download', if(type = 'download', target, ''))
            ]) AS bys,
            protocol = 'import' OR endsWith(enriched_by, ' visitor=named') AS lasts
        FROM event_rows FINAL
        WHERE site = {site:String} AND day IN {days:Array(Date)} AND bot = '' AND start IN {starts:Array(Int64)}
            AND notEmpty(bys)
            AND
            -- whose
    ) AS e
    ASOF LEFT JOIN
    (
        SELECT visitor, session_id, started_at
        FROM session_rows FINAL
        WHERE site = {site:String} AND day IN {visit_days:Array(Date)}
            AND
            -- whose
    ) AS s ON e.visitor = s.visitor AND e.occurred_at >= s.started_at
)
GROUP BY start, dimension, value
