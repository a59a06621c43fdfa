-- Of which sites, in which time zones, every day that has rows up to the horizon is in `day_builds`: any other day up to there
-- is empty. `looked` 0: it is so no longer, because the site was removed or its days are those of another zone.
-- shard by: cityHash64(site)
CREATE TABLE IF NOT EXISTS day_sites
(
    site LowCardinality(String),
    zone LowCardinality(String),
    version UInt64,
    looked UInt8
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (site, zone)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
