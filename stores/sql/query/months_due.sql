-- The months before {before} of which all days that are known are built, and which are not made of just these builds; the
-- latest first. `days` and `versions` are these builds.
SELECT site, zone, month, d.days AS days, d.versions AS versions
FROM
(
    SELECT
        site, zone, addDays(day, 1 - toDayOfMonth(day)) AS month,
        arraySort(groupArray((day, version))) AS builds,
        arrayMap(each -> each.1, builds) AS days, arrayMap(each -> each.2, builds) AS versions
    FROM day_builds FINAL
    WHERE day < {before:Date32}
    GROUP BY site, zone, month
    HAVING min(valid) = 1 AND min(edition) = {edition:UInt16} AND max(edition) = {edition:UInt16}
) AS d
LEFT JOIN (SELECT * FROM month_builds FINAL) AS m USING (site, zone, month)
WHERE d.days != m.days OR d.versions != m.versions
ORDER BY month DESC, site, zone
