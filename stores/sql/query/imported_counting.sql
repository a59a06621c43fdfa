-- Whose imported numbers count on each day from {first} to {last}. On a day on which the site has events of its own, as {zone} has
-- it, nobody's; of several products, that of which the visits of the day are known, and then the one imported last.
WITH
    parts AS (
        SELECT product, part, day, version FROM imported_parts FINAL
        WHERE site = {site:String} AND day BETWEEN {first:Date32} AND {last:Date32}
    ),
    whole AS (
        SELECT product, day FROM imported_days
        WHERE site = {site:String} AND dimension = '' AND value = '' AND visits > 0 AND day BETWEEN {first:Date32} AND {last:Date32}
            AND (product, part, day, version) GLOBAL IN parts
    ),
    own AS (
        SELECT toDate32(toTimeZone(occurred_at, {zone:String})) FROM event_rows
        WHERE site = {site:String} AND day GLOBAL IN (SELECT toDate(arrayJoin([day - 1, day, day + 1])) FROM parts)
    )
SELECT day, toString(argMax(product, ((product, day) GLOBAL IN whole, version))) AS product
FROM parts
WHERE day GLOBAL NOT IN own
GROUP BY day
ORDER BY day
