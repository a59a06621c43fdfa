-- Which of the days {dates} of a site, in order, events or visits touch that a later batch than {units} wrote. The days
-- begin at {starts} and end at {ends} (Unix ms).
WITH
    {units:Array(UInt64)} AS upto,
    ((first, last) -> arrayFilter(
        (day, start, end) -> start <= toUnixTimestamp64Milli(last) AND end > toUnixTimestamp64Milli(first),
        {dates:Array(Date32)}, {starts:Array(Int64)}, {ends:Array(Int64)}
    )) AS touched
SELECT arrayJoin(touched(occurred_at, occurred_at)) FROM event_rows
WHERE site = {site:String} AND day BETWEEN addDays(({dates:Array(Date32)})[1], -1) AND addDays(({dates:Array(Date32)})[-1], 1)
    AND batch > arrayMin(upto) AND batch > upto[batch % length(upto) + 1]
UNION DISTINCT
SELECT arrayJoin(touched(started_at, ended_at)) FROM session_rows
WHERE site = {site:String} AND day BETWEEN addDays(({dates:Array(Date32)})[1], -4) AND addDays(({dates:Array(Date32)})[-1], 1)
    AND batch > arrayMin(upto) AND batch > upto[batch % length(upto) + 1]
