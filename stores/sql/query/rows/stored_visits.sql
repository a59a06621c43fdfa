-- The rows of `day_visits` for the days that are built. From {first} on, day by day, {versions} has the version that counts, 0 for
-- a day that is not to be taken from here.
SELECT *
FROM day_visits
WHERE site = {site:String} AND day BETWEEN {first:Date32} AND {last:Date32}
    AND version = ({versions:Array(UInt64)})[dateDiff('day', {first:Date32}, day) + 1]
