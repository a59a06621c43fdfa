-- The visits that did anything that is a step of a funnel: what of it in order, by which event and when.
SELECT visitor, day, lasts, started_at, kept_marks AS marks, kept_events AS events, kept_times AS times
FROM
(
    SELECT
        visitor, day, lasts, started_at,
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
    WHERE began AND notEmpty(kept_marks)
        AND
        -- of
        AND
        -- chosen
)
