-- The hours, as Unix ms of their starts, that rows of {sites} of later batches than {units} touch: from `first` to `last`.
WITH {units:Array(UInt64)} AS upto
SELECT DISTINCT
    site,
    toInt64(toUnixTimestamp(toStartOfHour(occurred_at))) * 1000 AS first,
    first AS last
FROM event_rows
WHERE site IN {sites:Array(String)} AND batch > arrayMin(upto) AND batch > upto[batch % length(upto) + 1]
UNION ALL
SELECT DISTINCT
    site,
    toInt64(toUnixTimestamp(toStartOfHour(started_at))) * 1000 AS first,
    toInt64(toUnixTimestamp(toStartOfHour(ended_at))) * 1000 AS last
FROM session_rows
WHERE site IN {sites:Array(String)} AND batch > arrayMin(upto) AND batch > upto[batch % length(upto) + 1]
