-- What visits searched for, the terms with the most searches first: the mean of the results of those searches that told
-- of them, how many found nothing, after how many no page was viewed any more, and the page that was viewed next most
-- often. What was viewed in the moment of the search is the page of the results.
SELECT
    term AS value,
    sum(times) AS searches,
    sum(nothing) AS without_results,
    if(sum(told) = 0, NULL, sum(results) / sum(told)) AS mean_results,
    sumIf(times, page = '') AS exits,
    argMaxIf(page, (times, page), page != '') AS next_page,
    maxIf(times, page != '') AS next_times,
    count() OVER () AS total
FROM
(
    SELECT
        search.1 AS term, search.3 AS page, count() AS times, countIf(search.2 = 0) AS nothing,
        countIf(search.2 >= 0) AS told, sumIf(search.2, search.2 >= 0) AS results
    FROM
    (
        SELECT
            arrayJoin(arrayMap((term, event, time, results) -> (term, results, arrayFirst(
                (page, kind, later, at) -> kind = 1 AND later > event AND at > time,
                `step.value`, `step.kind`, `step.event`, `step.at`
            )), arrayFilter((each, kind) -> kind = 2, `step.value`, `step.kind`),
                arrayFilter((each, kind) -> kind = 2, `step.event`, `step.kind`),
                arrayFilter((each, kind) -> kind = 2, `step.at`, `step.kind`),
                arrayFilter((each, kind) -> kind = 2, `step.results`, `step.kind`)
            )) AS search
        FROM
        (
            -- visits
        )
        WHERE began AND visit_searches > 0 AND
            -- chosen
    )
    GROUP BY term, page
)
GROUP BY term
ORDER BY searches DESC, term
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
