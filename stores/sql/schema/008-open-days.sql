-- Visits of days that are not over, so that a question of a busy day need not make them of all its events. They are made
-- again from time to time, each time under a version of its own. The visitors of whom rows came since are asked for from
-- the rows themselves. Two versions are kept, told apart by whether they are even: a reader of the former one is not
-- disturbed while the next is made. A column that `day_visits` gets later has to be added here, too.

-- shard by: cityHash64(site, visitor)
CREATE TABLE IF NOT EXISTS open_visits
AS day_visits
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (site, day, version % 2, visitor, session_id)
TTL toDateTime(intDiv(version, 1000000000)) + INTERVAL 2 DAY
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

-- Which version of a day counts, and the last batch of each unit of which all rows are in it; none of these: it counts no
-- longer. `late` are visitors with events that are in no visit, `rows` says how large the day was.
-- shard by: cityHash64(site)
CREATE TABLE IF NOT EXISTS open_days
(
    site LowCardinality(String),
    zone LowCardinality(String),
    day Date32,
    version UInt64,
    edition UInt16,
    units Array(UInt64),
    late Array(UInt64),
    rows UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (site, zone, day)
TTL toDateTime(intDiv(version, 1000000000)) + INTERVAL 2 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
