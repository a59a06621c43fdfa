-- Visits day by day, for questions that are asked of some of them: a row a visit and day, as `sql/query/rows/day_visits`
-- describes it. A day is built together with its values (003), under the same version. Days that were built before this
-- table was there are of edition 1, and are built again.
ALTER TABLE day_builds ADD COLUMN IF NOT EXISTS edition UInt16 DEFAULT 1;

-- shard by: cityHash64(site, visitor)
CREATE TABLE IF NOT EXISTS day_visits
(
    site LowCardinality(String),
    day Date32,
    version UInt64 CODEC(ZSTD(1)),
    visitor UInt64,
    session_id UInt64,
    began Bool,
    again Bool,
    lasts Bool,
    is_bounce Bool,
    duration_ms Int64 CODEC(ZSTD(1)),
    visit_pageviews UInt32 CODEC(ZSTD(1)),
    visit_searches UInt32 CODEC(ZSTD(1)),
    visit_events UInt32 CODEC(ZSTD(1)),
    pageviews UInt32 CODEC(ZSTD(1)),
    searches UInt32 CODEC(ZSTD(1)),
    events UInt32 CODEC(ZSTD(1)),
    entry_page String CODEC(ZSTD(1)),
    exit_page String CODEC(ZSTD(1)),
    source LowCardinality(String),
    channel LowCardinality(String),
    country LowCardinality(String),
    device LowCardinality(String),
    browser LowCardinality(String),
    os LowCardinality(String),
    `page.value` Array(String) CODEC(ZSTD(1)),
    `page.views` Array(UInt32) CODEC(ZSTD(1)),
    `page.events` Array(UInt32) CODEC(ZSTD(1)),
    `search.value` Array(String) CODEC(ZSTD(1)),
    `search.events` Array(UInt32) CODEC(ZSTD(1)),
    `search.nothing` Array(UInt32) CODEC(ZSTD(1)),
    `event.value` Array(String) CODEC(ZSTD(1)),
    `event.events` Array(UInt32) CODEC(ZSTD(1)),
    pages_elsewhere Array(String) CODEC(ZSTD(1)),
    searches_elsewhere Array(String) CODEC(ZSTD(1)),
    events_elsewhere Array(String) CODEC(ZSTD(1)),
    props Array(String) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (site, day, visitor, session_id)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;
