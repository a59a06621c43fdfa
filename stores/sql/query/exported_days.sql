-- The UTC days on which a site has rows of {view}, events or sessions, from the day {first} to the day {last}.
SELECT DISTINCT day
FROM event_rows
WHERE {view:String} = 'events' AND site = {site:String} AND day BETWEEN {first:Date} AND {last:Date}
UNION DISTINCT
SELECT DISTINCT day
FROM session_rows
WHERE {view:String} = 'sessions' AND site = {site:String} AND day BETWEEN {first:Date} AND {last:Date}
ORDER BY day
