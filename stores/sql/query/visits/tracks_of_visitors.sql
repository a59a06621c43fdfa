-- `tracks` put together by their visitors, whose events go on from visit to visit. Visitors whose ids do not last are
-- others on another day.
SELECT
    visitor, on AS day, lasts, parts[1].1 AS started_at,
    arrayFlatten(arrayMap(part -> part.2, parts)) AS marks,
    arrayFlatten(arrayMap(
        (part, n) -> arrayMap(event -> toUInt64(event) + bitShiftLeft(toUInt64(n), 32), part.3),
        parts, arrayEnumerate(parts)
    )) AS events,
    arrayFlatten(arrayMap(part -> part.4, parts)) AS times
FROM
(
    SELECT
        visitor, lasts, if(lasts, toDate32(0), day) AS on,
        arraySort(groupArray((started_at, marks, events, times))) AS parts
    FROM
    (
        -- tracks
    )
    GROUP BY visitor, lasts, on
)
