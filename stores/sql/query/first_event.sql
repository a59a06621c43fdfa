-- When the first event of a site occurred: one row, or none while there is no event.
SELECT min(occurred_at) AS occurred_at
FROM event_rows FINAL
WHERE site = {site:String}
HAVING count() > 0
