-- Of the visitors whose ids last longer than a day and who came first in the week of `cohort` (its Monday), how many came
-- `later` weeks later. Only cohorts that begin on {shown} or later are answered.
SELECT
    cohort,
    toUInt32(intDiv(dateDiff('day', cohort, arrayJoin(weeks)), 7)) AS later,
    count() AS visitors
FROM
(
    SELECT groupUniqArray(addDays(day, 1 - toDayOfWeek(day))) AS weeks, arrayMin(weeks) AS cohort
    FROM
    (
        -- visits
    )
    WHERE began AND lasts AND
        -- chosen
    GROUP BY visitor
)
WHERE cohort >= {shown:Date32}
GROUP BY cohort, later
ORDER BY cohort, later
