-- The rows of `day_visits` for the days that are built. The days are given as in `stored`.
SELECT *
FROM day_visits
WHERE site = {site:String} AND day BETWEEN {first:Date32} AND {last:Date32}
    AND version = ({versions:Array(UInt64)})[dateDiff('day', {first:Date32}, day) + 1]
