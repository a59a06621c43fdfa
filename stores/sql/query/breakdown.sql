-- The values of each list, those with the most visitors first; a page where nobody viewed anything is no value.
-- Of imported days visitors may be unknown: then what is known of a value counts.
-- `engaged_time` is the mean of seconds in a visit, of a page on it.
-- `lasting` says how many of the visitors have ids that last longer than a day. If {merging} they are counted by a state,
-- exactly as long as they are few; else they count once a day, which is quicker, and enough for one day or if there are none.
SELECT
    dimension,
    value,
    toUInt64(sum(r.visitors) + lasting) AS visitors,
    sum(r.visits) AS visits,
    sum(r.pageviews) AS pageviews,
    sum(r.events) AS events,
    if(visits = 0, 0, sum(r.engaged_ms) / visits / 1000) AS engaged_time,
    sum(r.without_results) AS without_results,
    if({merging:Bool}, uniqMergeIf(r.lasting, r.regulars > 0), sum(r.regulars)) AS lasting
FROM
(
    -- rows
) AS r
GROUP BY dimension, value
HAVING
    visitors > 0 OR visits > 0 OR pageviews > 0
    OR (events > 0 AND dimension IN ('event', 'not_found', 'outbound', 'download'))
ORDER BY
    visitors DESC,
    multiIf(
        dimension = 'page', pageviews,
        dimension IN ('search', 'event', 'not_found', 'outbound', 'download'), events,
        toInt64(visits)
    ) DESC,
    value
LIMIT {limit:UInt32} BY dimension
