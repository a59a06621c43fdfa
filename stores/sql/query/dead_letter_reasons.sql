-- How many dead letters were received from {from_ms} on, by topic and reason, and when the last one was (Unix ms).
SELECT topic, reason, count() AS letters, toUnixTimestamp64Milli(max(received_at)) AS last
FROM dead_letter_rows
WHERE received_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
GROUP BY topic, reason
ORDER BY letters DESC, topic, reason
LIMIT 50
