CREATE TABLE saved (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    site TEXT NOT NULL,
    kind TEXT NOT NULL,  -- segment, goal or funnel
    name TEXT NOT NULL,
    content TEXT NOT NULL,  -- filters or steps, as an address has them
    user INTEGER REFERENCES users (id) ON DELETE CASCADE  -- who alone sees it, NULL if all do who see the site
);

CREATE UNIQUE INDEX saved_once ON saved (site, kind, coalesce(user, 0), name)
