-- When the last event of people of a site occurred from {from_ms} until {until_ms} (Unix ms): one row, or none. Without
-- FINAL, as in visitors_between.
WITH fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AS start, fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC') AS end
SELECT toUnixTimestamp64Milli(max(e.occurred_at)) AS at
FROM event_rows AS e
WHERE e.site = {site:String} AND e.bot = '' AND e.deleted = 0 AND e.occurred_at >= start AND e.occurred_at <= end
    AND e.day BETWEEN toDate(start) AND toDate(end)
HAVING count() > 0
