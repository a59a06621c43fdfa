-- Which page visits viewed directly after they had viewed the pages of {path} in a row for the first time, those with
-- the most visits first; '' stands for none, so they ended there. If {backward}, {path} and the answer are read from the
-- end of the visit: which page before, '' where the visit began. A page that is viewed again at once counts once.
SELECT page AS value, count() AS visits, sum(visits) OVER () AS total
FROM
(
    SELECT
        arrayCompact(arrayFilter((value, kind) -> kind = 1, `step.value`, `step.kind`)) AS viewed,
        if({backward:Bool}, arrayReverse(viewed), viewed) AS pages,
        -- place
        AS place,
        pages[place + length({path:Array(String)})] AS page
    FROM
    (
        SELECT *
        FROM
        (
            -- visits
        )
        WHERE began AND hasAll(`step.value`, {path:Array(String)}) AND
            -- chosen
    )
    WHERE place > 0
)
GROUP BY page
ORDER BY visits DESC, page
LIMIT {limit:UInt32}
