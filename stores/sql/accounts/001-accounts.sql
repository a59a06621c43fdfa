-- Times are Unix milliseconds. A site is a domain, or * for all of them.

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL,  -- argon2, with its parameters
    created INTEGER NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE grants (
    user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    site TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (user, site)
) WITHOUT ROWID;

CREATE TABLE sessions (
    key BLOB PRIMARY KEY,  -- SHA-256 of what the cookie holds
    user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    started INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (user)
