-- What is watched, and whom it is told to. The site is * for the installation itself.
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    site TEXT NOT NULL,
    kind TEXT NOT NULL,
    threshold REAL NOT NULL,
    target TEXT NOT NULL,  -- an e-mail address, or the URL of a webhook
    secret TEXT NOT NULL,  -- by which a webhook's messages are signed, readable since they are signed with it
    created INTEGER NOT NULL,
    firing INTEGER NOT NULL DEFAULT 0,
    value REAL,  -- at the last look
    looked INTEGER,
    UNIQUE (site, kind, threshold, target)
);

-- Messages of alerts: kept until they are sent or given up, so that a restart goes on with them.
CREATE TABLE notices (
    id TEXT PRIMARY KEY,
    alert INTEGER NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    state TEXT NOT NULL,  -- fired or over
    at INTEGER NOT NULL,
    value REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    ended INTEGER  -- when it was sent or given up
) WITHOUT ROWID
