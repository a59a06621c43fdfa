-- Rows as the pipeline writes them. Every row carries the batch that wrote it; of several rows with one key
-- the one with the highest batch counts, and none when that one says deleted. Readers use the views (002).
-- Times are DateTime64(3, 'UTC') here and Int64 milliseconds in frames. Revenue stays the text that was sent,
-- so that it can be given back exactly; the view has it as a Decimal. A comment `shard by:` says which shard of
-- a cluster a row lies on: all rows of one key on one shard, so that FINAL sees all versions.

-- shard by: cityHash64(site, visitor)
CREATE TABLE IF NOT EXISTS event_rows
(
    site LowCardinality(String),
    day Date MATERIALIZED toDate(occurred_at, 'UTC'),
    visitor UInt64,
    id_hi UInt64,
    id_lo UInt64,
    type LowCardinality(String),
    occurred_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    sent_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    clamped Bool,
    interactive Bool,
    user String CODEC(ZSTD(1)),
    session_hint String CODEC(ZSTD(1)),
    url String CODEC(ZSTD(1)),
    host LowCardinality(String),
    path String CODEC(ZSTD(1)),
    title String CODEC(ZSTD(1)),
    referrer String CODEC(ZSTD(1)),
    utm_source LowCardinality(String),
    utm_medium LowCardinality(String),
    utm_campaign LowCardinality(String),
    utm_term LowCardinality(String),
    utm_content LowCardinality(String),
    source LowCardinality(String),
    medium LowCardinality(String),
    channel LowCardinality(String),
    term String CODEC(ZSTD(1)),
    results Nullable(Int64) CODEC(ZSTD(1)),
    name LowCardinality(String),
    props String CODEC(ZSTD(1)),
    revenue String CODEC(ZSTD(1)),
    currency LowCardinality(String),
    engaged_ms Int64 CODEC(ZSTD(1)),
    language LowCardinality(String),
    screen LowCardinality(String),
    browser LowCardinality(String),
    browser_version LowCardinality(String),
    os LowCardinality(String),
    os_version LowCardinality(String),
    device LowCardinality(String),
    country LowCardinality(String),
    region LowCardinality(String),
    city LowCardinality(String),
    protocol LowCardinality(String),
    bot LowCardinality(String),
    enriched_by LowCardinality(String),
    batch UInt64 CODEC(Delta, ZSTD(1)),
    deleted UInt8,
    INDEX by_id id_lo TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(batch, deleted)
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (site, day, visitor, id_hi, id_lo)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- shard by: cityHash64(site, visitor)
CREATE TABLE IF NOT EXISTS session_rows
(
    site LowCardinality(String),
    day Date MATERIALIZED toDate(started_at, 'UTC'),
    visitor UInt64,
    session_id UInt64,
    started_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    ended_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    events Int64 CODEC(ZSTD(1)),
    pageviews Int64 CODEC(ZSTD(1)),
    searches Int64 CODEC(ZSTD(1)),
    interactions Int64 CODEC(ZSTD(1)),
    engaged_ms Int64 CODEC(ZSTD(1)),
    entry_page String CODEC(ZSTD(1)),
    exit_page String CODEC(ZSTD(1)),
    is_bounce Bool,
    is_engaged Bool,
    oversized Bool,
    user String CODEC(ZSTD(1)),
    referrer String CODEC(ZSTD(1)),
    source LowCardinality(String),
    medium LowCardinality(String),
    channel LowCardinality(String),
    utm_campaign LowCardinality(String),
    country LowCardinality(String),
    region LowCardinality(String),
    city LowCardinality(String),
    browser LowCardinality(String),
    os LowCardinality(String),
    device LowCardinality(String),
    language LowCardinality(String),
    batch UInt64 CODEC(Delta, ZSTD(1)),
    deleted UInt8
)
ENGINE = ReplacingMergeTree(batch, deleted)
PARTITION BY toYYYYMM(started_at)
ORDER BY (site, day, visitor, session_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- shard by: cityHash64(site, dimension)
CREATE TABLE IF NOT EXISTS rollup_1m_rows
(
    site LowCardinality(String),
    bucket DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    dimension LowCardinality(String),
    value String CODEC(ZSTD(1)),
    events Int64 CODEC(ZSTD(1)),
    pageviews Int64 CODEC(ZSTD(1)),
    searches Int64 CODEC(ZSTD(1)),
    engaged_ms Int64 CODEC(ZSTD(1))
)
ENGINE = SummingMergeTree((events, pageviews, searches, engaged_ms))
PARTITION BY toYYYYMM(bucket)
ORDER BY (site, dimension, bucket, value)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- shard by: cityHash64(site, dimension)
CREATE TABLE IF NOT EXISTS rollup_1h_rows
(
    site LowCardinality(String),
    bucket DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    dimension LowCardinality(String),
    value String CODEC(ZSTD(1)),
    events Int64 CODEC(ZSTD(1)),
    pageviews Int64 CODEC(ZSTD(1)),
    searches Int64 CODEC(ZSTD(1)),
    engaged_ms Int64 CODEC(ZSTD(1))
)
ENGINE = SummingMergeTree((events, pageviews, searches, engaged_ms))
PARTITION BY toYYYYMM(bucket)
ORDER BY (site, dimension, bucket, value)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- shard by: rand()
CREATE TABLE IF NOT EXISTS dead_letter_rows
(
    received_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    topic LowCardinality(String),
    reason LowCardinality(String),
    bytes String CODEC(ZSTD(1)),
    batch UInt64 CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (received_at, topic)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- shard by: cityHash64(site)
CREATE TABLE IF NOT EXISTS loss_account
(
    site LowCardinality(String),
    hour DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    outcome LowCardinality(String),
    reason LowCardinality(String),
    events Int64 CODEC(ZSTD(1))
)
ENGINE = SummingMergeTree(events)
PARTITION BY toYYYYMM(hour)
ORDER BY (site, hour, outcome, reason)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- shard by: cityHash64(site)
CREATE TABLE IF NOT EXISTS erasures
(
    epoch UInt64,
    site LowCardinality(String),
    visitor UInt64,
    user String,
    received_before DateTime64(3, 'UTC'),
    erased_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (site, epoch)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
