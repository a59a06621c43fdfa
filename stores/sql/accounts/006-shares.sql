CREATE TABLE shares (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    site TEXT NOT NULL,
    name TEXT NOT NULL,
    key BLOB NOT NULL UNIQUE,  -- SHA-256 of the token in the address
    made_by TEXT NOT NULL,
    created INTEGER NOT NULL,
    used INTEGER,  -- to the minute
    expires INTEGER,
    password TEXT,  -- argon2, with its parameters
    files INTEGER NOT NULL,  -- whether rows and lists may be saved
    origins TEXT NOT NULL,  -- who may show it in a frame, separated by spaces
    UNIQUE (site, name)
)
