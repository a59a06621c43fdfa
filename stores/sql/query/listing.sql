-- The values of one list that have {search} in them, in any case and in one of its forms, sorted by {sort}: from the
-- {offset}-th on, {limit} of them. `total` says how many there are. Numbers are as in `breakdown`.
SELECT
    value,
    toUInt64(sum(r.visitors) + lasting) AS visitors,
    sum(r.visits) AS visits,
    sum(r.pageviews) AS pageviews,
    sum(r.events) AS events,
    if(visits = 0, 0, sum(r.engaged_ms) / visits / 1000) AS engaged_time,
    sum(r.without_results) AS without_results,
    if({merging:Bool}, uniqMergeIf(r.lasting, r.regulars > 0), sum(r.regulars)) AS lasting,
    count() OVER () AS total
FROM
(
    -- rows
) AS r
WHERE empty({search:Array(String)}) OR multiSearchAnyCaseInsensitiveUTF8(r.value, {search:Array(String)})
GROUP BY value
HAVING
    visitors > 0 OR visits > 0 OR pageviews > 0
    OR (events > 0 AND any(r.dimension) IN ('event', 'not_found', 'outbound', 'download'))
ORDER BY
    if({sort:String} = 'value', value, ''),
    multiIf(
        {sort:String} = 'visits', toInt64(visits), {sort:String} = 'pageviews', pageviews, {sort:String} = 'events', events,
        {sort:String} = 'visitors', toInt64(visitors), {sort:String} = 'engaged_time', toInt64(engaged_time * 1000), 0
    ) DESC,
    visitors DESC,
    value
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
