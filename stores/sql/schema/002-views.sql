-- What readers see: exact rows whatever has been merged yet. Identifiers are lowercase hexadecimal text.

CREATE OR REPLACE VIEW events AS
SELECT
    site, day,
    lower(leftPad(hex(id_hi), 16, '0') || leftPad(hex(id_lo), 16, '0')) AS id,
    lower(leftPad(hex(event_rows.visitor), 16, '0')) AS visitor,
    type, occurred_at, received_at, sent_at, clamped, interactive, user, session_hint,
    url, host, path, title, referrer, utm_source, utm_medium, utm_campaign, utm_term, utm_content,
    source, medium, channel, term, results, name, props,
    toDecimal64OrNull(event_rows.revenue, 4) AS revenue,
    currency, engaged_ms, language, screen, browser, browser_version, os, os_version, device,
    country, region, city, protocol, bot, enriched_by
FROM event_rows FINAL;

CREATE OR REPLACE VIEW sessions AS
SELECT
    site, day,
    lower(leftPad(hex(session_rows.visitor), 16, '0')) AS visitor,
    lower(leftPad(hex(session_rows.session_id), 16, '0')) AS session_id,
    started_at, ended_at, events, pageviews, searches, interactions, engaged_ms,
    entry_page, exit_page, is_bounce, is_engaged, oversized,
    user, referrer, source, medium, channel, utm_campaign,
    country, region, city, browser, os, device, language
FROM session_rows FINAL;

CREATE OR REPLACE VIEW rollup_1m AS
SELECT
    site, bucket, dimension, value,
    sum(r.events) AS events, sum(r.pageviews) AS pageviews,
    sum(r.searches) AS searches, sum(r.engaged_ms) AS engaged_ms
FROM rollup_1m_rows AS r
GROUP BY site, bucket, dimension, value
HAVING events != 0 OR pageviews != 0 OR searches != 0 OR engaged_ms != 0;

CREATE OR REPLACE VIEW rollup_1h AS
SELECT
    site, bucket, dimension, value,
    sum(r.events) AS events, sum(r.pageviews) AS pageviews,
    sum(r.searches) AS searches, sum(r.engaged_ms) AS engaged_ms
FROM rollup_1h_rows AS r
GROUP BY site, bucket, dimension, value
HAVING events != 0 OR pageviews != 0 OR searches != 0 OR engaged_ms != 0;

CREATE OR REPLACE VIEW dead_letters AS
SELECT received_at, topic, reason, bytes
FROM dead_letter_rows;
