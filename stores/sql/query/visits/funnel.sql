-- How many tracks reach each step of a funnel, one after the other, and the median of the seconds since the step before.
-- `marks` says for each thing that was done, in order, which steps it is, a bit each; a step is reached by a later event
-- than the one before. Steps that none reaches are left out.
SELECT
    step,
    count() AS reached,
    ifNotFinite(quantileExactIf(0.5)((times[hits[step]] - times[hits[step - 1]]) / 1000, step > 1), 0) AS seconds
FROM
(
    SELECT times, hits, arrayJoin(arrayFilter(n -> hits[n] > 0, arrayEnumerate(hits))) AS step
    FROM
    (
        SELECT
            times,
            -- hits
            AS hits
        FROM
        (
            -- tracks
        )
    )
)
GROUP BY step
ORDER BY step
