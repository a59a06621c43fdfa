-- Rows and bytes on disk of each table; of a cluster, those of the server that answers.
SELECT table, toInt64(sum(p.rows)) AS stored_rows, toInt64(sum(p.bytes_on_disk)) AS bytes
FROM system.parts AS p
WHERE p.active AND p.database = currentDatabase()
GROUP BY table
ORDER BY bytes DESC, table
