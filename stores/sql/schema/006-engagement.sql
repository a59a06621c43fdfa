-- How long visits were engaged and on which pages, all utm fields, missing pages, links followed out and downloads. Days
-- that were built before are of edition 3.
ALTER TABLE day_values ADD COLUMN IF NOT EXISTS engaged UInt64 CODEC(ZSTD(1));
ALTER TABLE day_values ADD COLUMN IF NOT EXISTS engaged_ms Int64 CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS is_engaged Bool;
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS visit_engaged_ms Int64 CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS utm_source LowCardinality(String);
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS utm_medium LowCardinality(String);
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS utm_term LowCardinality(String);
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS utm_content LowCardinality(String);
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `page.engaged_ms` Array(Int64) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `not_found.value` Array(String) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `not_found.events` Array(UInt32) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `outbound.value` Array(String) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `outbound.events` Array(UInt32) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `download.value` Array(String) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `download.events` Array(UInt32) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS not_found_elsewhere Array(String) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS outbound_elsewhere Array(String) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS download_elsewhere Array(String) CODEC(ZSTD(1));
