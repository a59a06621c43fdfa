CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    key BLOB NOT NULL UNIQUE,  -- SHA-256 of the token
    scopes TEXT NOT NULL,  -- separated by spaces
    site TEXT NOT NULL,
    created INTEGER NOT NULL,
    used INTEGER,  -- to the minute
    expires INTEGER
);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    address TEXT NOT NULL,
    deed TEXT NOT NULL,
    target TEXT NOT NULL
)
