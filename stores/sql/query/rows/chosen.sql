-- The visits that filters choose, by the values of one dimension, as `visits`, `events` and `counts` have them for all;
-- or of several at once, so that the visits are read and chosen once for all of these.
-- Visits and what they did are rows of `day_visits`. `counts` says whether a row is a visit to its value; `viewed`,
-- `searched`, `happened`, `nothing` and `stayed` (ms) are what it adds to the numbers. `landings` are the visits of which bounces are
-- told: under a filter by page those that entered there. A visitor without other rows on a day needs no comparing.
SELECT
    label AS day,
    -- dimension
    AS dimension,
    -- value
    AS value,
    countIf(counts AND NOT lasts AND NOT again) + uniqExactIf((at, visitor), counts AND NOT lasts AND again) AS visitors,
    uniqExactIf(visitor, counts AND lasts) AS regulars,
    uniqStateIf(visitor, counts AND lasts) AS lasting,
    countIf(counts) AS visits,
    countIf(counts AND landed) AS landings,
    countIf(counts AND landed AND is_bounce) AS bounces,
    toInt64(sumIf(duration_ms, counts)) AS duration_ms,
    countIf(counts AND is_engaged) AS engaged,
    toInt64(sum(stayed)) AS engaged_ms,
    toInt64(sum(viewed)) AS pageviews,
    toInt64(sum(searched)) AS searches,
    toInt64(sum(happened)) AS events,
    toInt64(0) AS bots,
    toInt64(sum(nothing)) AS without_results
FROM
(
    SELECT
        -- label
        AS label,
        day AS at, visitor, again, lasts, is_bounce, is_engaged, duration_ms,
        -- landed
        AS landed,
        -- what
    FROM
    (
        SELECT *
        FROM
        (
            -- visits
        )
        WHERE
            -- chosen
    )
    -- each
)
GROUP BY
    -- sets
HAVING value != '' OR dimension NOT IN (
    'entry_page', 'exit_page', 'campaign', 'utm_source', 'utm_medium', 'utm_term', 'utm_content'
)
