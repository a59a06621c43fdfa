-- A site's numbers. Visitors, visits and what is said of a visit come from the sessions that began in the time asked
-- for; page views, searches and events from the events of persons that occurred in it. `lasting` as in `breakdown`.
SELECT
    toUInt64(sum(r.visitors) + lasting) AS visitors,
    sum(r.visits) AS visits,
    sumIf(r.pageviews, r.value = 'events') AS pageviews,
    sumIf(r.searches, r.value = 'events') AS searches,
    sumIf(r.events, r.value = 'events') AS events,
    sum(r.bots) AS bots,
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
