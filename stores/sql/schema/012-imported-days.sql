-- What other products say that days of a site amounted to, of which they keep no events: the rows of an export, by the dimensions
-- of the day tables. They are added to the numbers of days where no filter is asked for, and are nowhere else.

-- The row with the dimension '' and the value '' counts visits, the one with the value 'events' what happened, as in `day_values`.
-- shard by: cityHash64(site, dimension)
CREATE TABLE IF NOT EXISTS imported_days
(
    site LowCardinality(String),
    product LowCardinality(String),
    part LowCardinality(String),
    day Date32,
    dimension LowCardinality(String),
    value String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    visitors UInt64 CODEC(ZSTD(1)),
    visits UInt64 CODEC(ZSTD(1)),
    bounces UInt64 CODEC(ZSTD(1)),
    duration_ms Int64 CODEC(ZSTD(1)),
    pageviews Int64 CODEC(ZSTD(1)),
    events Int64 CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (site, dimension, day, value)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Which version of a day counts, of each part of an export, such as a file of it; `digest` is that of its rows.
-- shard by: cityHash64(site)
CREATE TABLE IF NOT EXISTS imported_parts
(
    site LowCardinality(String),
    product LowCardinality(String),
    part LowCardinality(String),
    day Date32,
    version UInt64,
    digest UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (site, product, part, day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
