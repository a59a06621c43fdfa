-- The visitors of a site with events from {start} to {end} (Unix ms) on {days} that are in no visit of the version {version} of
-- an open day: they came late, and their day was not reconciled yet.
SELECT visitor
FROM
(
    SELECT visitor, count() AS happened FROM event_rows FINAL
    WHERE site = {site:String} AND bot = '' AND day IN {days:Array(Date)}
        AND toUnixTimestamp64Milli(occurred_at) >= {start:Int64} AND toUnixTimestamp64Milli(occurred_at) < {end:Int64}
    GROUP BY visitor
) AS e
LEFT JOIN
(
    SELECT visitor, sum(events) AS counted FROM open_visits
    WHERE site = {site:String} AND day = {date:Date32} AND version = {version:UInt64}
    GROUP BY visitor
) AS v USING (visitor)
WHERE happened != counted
