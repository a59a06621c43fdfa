-- How many rows of events and visits are stored of {sites} on each of {days}, those that were replaced included.
SELECT site, toDate32(day) AS day, count() AS rows
FROM (SELECT site, day FROM event_rows UNION ALL SELECT site, day FROM session_rows)
WHERE site IN {sites:Array(String)} AND day IN {days:Array(Date)}
GROUP BY site, day
