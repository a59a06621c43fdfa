-- The first and the last UTC day of a site with events: one row, or none while there is no event.
SELECT toDate32(min(day)) AS first, toDate32(max(day)) AS last
FROM event_rows
WHERE site = {site:String}
HAVING count() > 0
