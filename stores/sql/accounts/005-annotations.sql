CREATE TABLE annotations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    site TEXT NOT NULL,
    day TEXT NOT NULL,  -- as YYYY-MM-DD, of the days of the site
    clock TEXT NOT NULL,  -- as HH:MM, or '' for the whole day
    words TEXT NOT NULL
);

CREATE INDEX annotations_by_day ON annotations (site, day)
