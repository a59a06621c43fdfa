-- What became of the events of all sites in the hours from {from_ms} on, as far as the loss account has it.
SELECT a.outcome AS outcome, a.reason AS reason, sum(a.events) AS counted
FROM loss_account AS a
WHERE a.hour >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
GROUP BY outcome, reason
HAVING counted != 0
ORDER BY counted DESC, outcome, reason
