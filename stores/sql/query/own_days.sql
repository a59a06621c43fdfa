-- The days from {first} to {last}, as {zone} has them, on which a site has events of its own.
SELECT toDate32(toTimeZone(occurred_at, {zone:String})) AS its_day
FROM event_rows
WHERE site = {site:String} AND day BETWEEN toDate({first:Date32} - 1) AND toDate({last:Date32} + 1)
GROUP BY its_day
HAVING its_day BETWEEN {first:Date32} AND {last:Date32}
ORDER BY its_day
