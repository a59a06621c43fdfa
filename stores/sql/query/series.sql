-- The numbers of `stats` for each {interval} (day, week, month; weeks begin on Monday) that has any. `bucket` is the
-- interval's first day, also where that is before the days asked for.
SELECT
    toDate32(date_trunc({interval:String}, r.day)) AS bucket,
    toUInt64(sum(r.visitors) + lasting) AS visitors,
    sum(r.visits) AS visits,
    sumIf(r.pageviews, r.value = 'events') AS pageviews,
    sumIf(r.searches, r.value = 'events') AS searches,
    sumIf(r.events, r.value = 'events') AS events,
    if(visits = 0, 0, pageviews / visits) AS views_per_visit,
    if(sum(r.landings) = 0, 0, sum(r.bounces) / sum(r.landings)) AS bounce_rate,
    if(visits = 0, 0, sum(r.duration_ms) / visits / 1000) AS visit_duration,
    if(visits = 0, 0, sum(r.engaged) / visits) AS engagement_rate,
    if(visits = 0, 0, sum(r.engaged_ms) / visits / 1000) AS engaged_time,
    if({merging:Bool}, uniqMergeIf(r.lasting, r.regulars > 0), sum(r.regulars)) AS lasting
FROM
(
    -- rows
) AS r
GROUP BY bucket
ORDER BY bucket
