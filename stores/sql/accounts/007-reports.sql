-- A report of a site that is sent to an address after each week or month.
CREATE TABLE reports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    site TEXT NOT NULL,
    every TEXT NOT NULL,  -- week or month
    address TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,  -- by which a reader unsubscribes, readable since each message has it
    created INTEGER NOT NULL,
    done TEXT,  -- the first day of the last week or month that needs no message any more
    sent INTEGER,  -- when a message was sent last
    tries INTEGER NOT NULL DEFAULT 0,  -- in vain, since then
    next INTEGER NOT NULL DEFAULT 0,  -- when to try again
    error TEXT NOT NULL DEFAULT '',
    UNIQUE (site, every, address)
)
