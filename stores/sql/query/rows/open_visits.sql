-- The visits of days that are not over, as they were when these were last summed up, without those of visitors of whom rows
-- came since. The days are {open_dates}, and {open_versions} has the version of each that counts.
SELECT *
FROM open_visits
WHERE site = {site:String} AND day IN {open_dates:Array(Date32)}
    AND version = ({open_versions:Array(UInt64)})[indexOf({open_dates:Array(Date32)}, day)]
    AND visitor GLOBAL NOT IN (SELECT visitor FROM changed_visitors)
