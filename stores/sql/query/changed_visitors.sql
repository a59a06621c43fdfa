-- The visitors of a site of whom a later batch than {units} wrote events or visits on {near_days}, and those of the
-- table `late_visitors`.
WITH {units:Array(UInt64)} AS upto
SELECT visitor FROM event_rows
WHERE site = {site:String} AND day IN {near_days:Array(Date)}
    AND batch > arrayMin(upto) AND batch > upto[batch % length(upto) + 1]
UNION DISTINCT
SELECT visitor FROM session_rows
WHERE site = {site:String} AND day IN {near_days:Array(Date)}
    AND batch > arrayMin(upto) AND batch > upto[batch % length(upto) + 1]
UNION DISTINCT
SELECT visitor FROM late_visitors
