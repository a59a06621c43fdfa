-- The tombstones of sites: what occurred before has been removed by the site's retention, and nothing brings it back. `erasures`
-- has those of visitors and users.
-- shard by: cityHash64(site)
CREATE TABLE IF NOT EXISTS expiries
(
    site LowCardinality(String),
    epoch UInt64,
    occurred_before DateTime64(3, 'UTC'),
    erased_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(epoch)
ORDER BY site
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
