-- What the days of a month amount to together, so that a year costs by its months. A month is made from the rows of
-- built days and counts as long as exactly these builds of its days do, so nothing has to declare it invalid.

-- shard by: cityHash64(site, dimension)
CREATE TABLE IF NOT EXISTS month_values
(
    site LowCardinality(String),
    month Date32,
    dimension LowCardinality(String),
    value String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    visitors UInt64 CODEC(ZSTD(1)),
    regulars UInt64 CODEC(ZSTD(1)),
    lasting AggregateFunction(uniq, UInt64) CODEC(ZSTD(1)),
    visits UInt64 CODEC(ZSTD(1)),
    bounces UInt64 CODEC(ZSTD(1)),
    duration_ms Int64 CODEC(ZSTD(1)),
    engaged UInt64 CODEC(ZSTD(1)),
    engaged_ms Int64 CODEC(ZSTD(1)),
    pageviews Int64 CODEC(ZSTD(1)),
    searches Int64 CODEC(ZSTD(1)),
    events Int64 CODEC(ZSTD(1)),
    bots Int64 CODEC(ZSTD(1)),
    without_results Int64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(month)
ORDER BY (site, dimension, month, value)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

-- Which version of a month counts, and of which days it is made: of each, the version of its build.
-- shard by: cityHash64(site)
CREATE TABLE IF NOT EXISTS month_builds
(
    site LowCardinality(String),
    zone LowCardinality(String),
    month Date32,
    version UInt64,
    days Array(Date32),
    versions Array(UInt64)
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (site, zone, month)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
