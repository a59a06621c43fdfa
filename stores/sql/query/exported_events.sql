-- The next {limit} events of a site on the UTC {day}, until before {end} (Unix ms): those that follow the event {id} of
-- {visitor} at {at} (Unix ms) in the order of time, visitor and id.
SELECT *
FROM events
WHERE site = {site:String} AND day = {day:Date}
    AND occurred_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
    AND occurred_at >= fromUnixTimestamp64Milli({at:Int64}, 'UTC')
    AND (occurred_at, visitor, id) > (fromUnixTimestamp64Milli({at:Int64}, 'UTC'), {visitor:String}, {id:String})
ORDER BY occurred_at, visitor, id
LIMIT {limit:UInt32}
-- Else rows that cannot be of this page are kept until they have a gigabyte.
SETTINGS max_bytes_before_remerge_sort = 33554432
