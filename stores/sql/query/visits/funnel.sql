-- How many visits, or visitors if {by_visitor}, reach each step of a funnel, one after the other, and the median of the
-- seconds since the step before. `marks` says for each thing that a visit did, in order, which steps it is, a bit each; a
-- step is reached by a later event than the one before. Visitors whose ids do not last are others on another day.
SELECT
    step,
    countIf(hit > 0) AS reached,
    ifNotFinite(quantileExactIf(0.5)((time - before) / 1000, hit > 0 AND step > 1), 0) AS seconds
FROM
(
    SELECT
        arrayMap(hit -> if(hit = 0, 0, times[hit]), hits) AS reached_at,
        arrayJoin(arrayZip(arrayEnumerate(hits), hits, reached_at, arrayPushFront(arrayPopBack(reached_at), 0))) AS one,
        one.1 AS step, one.2 AS hit, one.3 AS time, one.4 AS before
    FROM
    (
        SELECT
            arraySort(groupArray((started_at, kept_marks, kept_events, kept_times))) AS parts,
            arrayFlatten(arrayMap(part -> part.2, parts)) AS marks,
            arrayFlatten(arrayMap(
                (part, n) -> arrayMap(event -> toUInt64(event) + bitShiftLeft(toUInt64(n), 32), part.3),
                parts, arrayEnumerate(parts)
            )) AS events,
            arrayFlatten(arrayMap(part -> part.4, parts)) AS times,
            -- hits
            AS hits
        FROM
        (
            SELECT
                visitor, session_id, day, lasts, started_at,
                arrayMap((kind, value) ->
                    -- steps
                    , `step.kind`, `step.value`
                ) AS all_marks,
                arrayFilter(mark -> mark > 0, all_marks) AS kept_marks,
                arrayFilter((event, mark) -> mark > 0, `step.event`, all_marks) AS kept_events,
                arrayFilter((time, mark) -> mark > 0, `step.at`, all_marks) AS kept_times
            FROM
            (
                -- visits
            )
            WHERE began AND notEmpty(kept_marks) AND
                -- chosen
        )
        GROUP BY visitor, if({by_visitor:Bool}, 0, session_id), if({by_visitor:Bool} AND lasts, toDate32(0), day)
    )
)
GROUP BY step
ORDER BY step
