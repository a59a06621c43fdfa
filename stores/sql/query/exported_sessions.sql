-- The next {limit} sessions of a site that started on the UTC {day}, until before {end} (Unix ms): those that follow the
-- session {id} of {visitor} at {at} (Unix ms) in the order of start, visitor and id.
SELECT *
FROM sessions
WHERE site = {site:String} AND day = {day:Date}
    AND started_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
    AND started_at >= fromUnixTimestamp64Milli({at:Int64}, 'UTC')
    AND (started_at, visitor, session_id)
        > (fromUnixTimestamp64Milli({at:Int64}, 'UTC'), {visitor:String}, {id:String})
ORDER BY started_at, visitor, session_id
LIMIT {limit:UInt32}
-- Else rows that cannot be of this page are kept until they have a gigabyte.
SETTINGS max_bytes_before_remerge_sort = 33554432
