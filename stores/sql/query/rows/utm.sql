-- The utm fields of visits, which are those of the event that says where a visit came from: its first that is a page view
-- or names an origin, else its first. Only visits of visitors with any such field are here. An event after the end of its
-- visitor's last session came late: it is in none until its day was reconciled, and then in another one. The campaign is
-- not among the fields, since a session has it.
SELECT
    visitor, session_id,
    argMin((utm_source, utm_medium, utm_term, utm_content), (NOT tells, occurred_at, id_hi, id_lo)) AS utm
FROM
(
    SELECT
        visitor, occurred_at, id_hi, id_lo,
        toString(utm_source) AS utm_source, toString(utm_medium) AS utm_medium,
        toString(utm_term) AS utm_term, toString(utm_content) AS utm_content,
        type = 'pageview' OR source != '' OR medium != '' OR utm_campaign != '' AS tells
    FROM event_rows FINAL
    WHERE site = {site:String} AND bot = '' AND day IN {near_days:Array(Date)} AND visitor GLOBAL IN (
        SELECT visitor FROM event_rows
        WHERE site = {site:String} AND day IN {near_days:Array(Date)}
            AND (utm_source != '' OR utm_medium != '' OR utm_term != '' OR utm_content != '')
            AND
            -- wanted
    )
        AND
        -- wanted
        AND
        -- whose
) AS e
ASOF JOIN
(
    SELECT visitor, session_id, started_at, ended_at
    FROM session_rows FINAL
    WHERE site = {site:String} AND day IN {near_days:Array(Date)}
        AND
        -- wanted
        AND
        -- whose
) AS s ON e.visitor = s.visitor AND e.occurred_at >= s.started_at
WHERE occurred_at <= ended_at
GROUP BY visitor, session_id
