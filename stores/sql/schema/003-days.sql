-- Day tables: what each day of a site amounts to, so that a question over many days reads a row a day and value
-- instead of the events and sessions themselves. A day is built as a whole by the questions of `sql/query/rows`, under
-- a version of its own; only the version that `day_builds` names counts. The day is one of the site's time zone.

-- `visitors` counts those whose id lasts a day. Those whose id lasts longer are `regulars`; the state `lasting` merges
-- theirs over days.
-- shard by: cityHash64(site, dimension)
CREATE TABLE IF NOT EXISTS day_values
(
    site LowCardinality(String),
    day Date32,
    dimension LowCardinality(String),
    value String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    visitors UInt64 CODEC(ZSTD(1)),
    regulars UInt64 CODEC(ZSTD(1)),
    lasting AggregateFunction(uniq, UInt64) CODEC(ZSTD(1)),
    visits UInt64 CODEC(ZSTD(1)),
    bounces UInt64 CODEC(ZSTD(1)),
    duration_ms Int64 CODEC(ZSTD(1)),
    pageviews Int64 CODEC(ZSTD(1)),
    searches Int64 CODEC(ZSTD(1)),
    events Int64 CODEC(ZSTD(1)),
    bots Int64 CODEC(ZSTD(1)),
    without_results Int64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (site, dimension, day, value)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

-- Which version of a day counts. `valid` 0: rows of the day have changed since, so it has to be built again.
-- shard by: cityHash64(site)
CREATE TABLE IF NOT EXISTS day_builds
(
    site LowCardinality(String),
    zone LowCardinality(String),
    day Date32,
    version UInt64,
    valid UInt8
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (site, zone, day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Up to which batch of each unit the validity of all days has been looked at. Of n units the first has the batches
-- 0, n, 2n …: the batch of a row belongs to the unit `batch % n + 1`.
-- shard by: rand()
CREATE TABLE IF NOT EXISTS day_horizons
(
    at UInt64,
    units Array(UInt64)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY tuple()
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Rows of later batches are found without reading all of them.
ALTER TABLE event_rows ADD INDEX IF NOT EXISTS by_batch batch TYPE minmax GRANULARITY 1;
ALTER TABLE session_rows ADD INDEX IF NOT EXISTS by_batch batch TYPE minmax GRANULARITY 1;
ALTER TABLE event_rows MATERIALIZE INDEX by_batch;
ALTER TABLE session_rows MATERIALIZE INDEX by_batch;
