-- Who sent a dead letter, as far as it was known, so that it can be repaired (`ingest/repair.py`). `sender` is JSON. A letter
-- is told by its id: the time it was received, in 12 hex digits, and 16 more. One without an id came before there were
-- any, or without an envelope; what it holds tells it then.
ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1));
ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS site LowCardinality(String);
ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS visitor String CODEC(ZSTD(1));
ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS detail String CODEC(ZSTD(1));
ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS length Int64 CODEC(ZSTD(1));
ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS sender String CODEC(ZSTD(1));

CREATE OR REPLACE VIEW dead_letters AS
SELECT
    received_at, topic, reason, bytes,
    if(
        dead_letter_rows.id != '', dead_letter_rows.id,
        lower(leftPad(hex(toUnixTimestamp64Milli(received_at)), 12, '0'))
            || lower(substring(hex(sipHash128(topic, reason, bytes)), 1, 16))
    ) AS id,
    site, visitor, detail, length, sender
FROM dead_letter_rows;

-- What was done to dead letters; nothing is changed in place, so the last deed tells how a letter stands. `deed` is edited,
-- replayed or discarded, `bytes` what an edit left and what a replay sent.
-- shard by: cityHash64(id)
CREATE TABLE IF NOT EXISTS letter_deeds
(
    id String,
    at DateTime64(3, 'UTC'),
    deed LowCardinality(String),
    bytes String CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (id, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
