-- What visits did, in order, and where from they came more closely. Days that were built before are of edition 2.
-- `step.*` stands on the row of the day on which the visit began, and has what it did on all days: page views, searches,
-- custom events and their properties, as `sql/query/rows/day_visits` describes it.
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS started_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS campaign LowCardinality(String);
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS region LowCardinality(String);
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS city LowCardinality(String);
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS language LowCardinality(String);
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `step.kind` Array(UInt8) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `step.value` Array(String) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `step.event` Array(UInt32) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `step.at` Array(Int64) CODEC(ZSTD(1));
ALTER TABLE day_visits ADD COLUMN IF NOT EXISTS `step.results` Array(Int64) CODEC(ZSTD(1));
