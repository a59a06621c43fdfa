ALTER TABLE users ADD COLUMN totp TEXT;  -- base32, readable since codes are computed from it

ALTER TABLE users ADD COLUMN totp_step INTEGER NOT NULL DEFAULT 0;  -- of the last code that was accepted

CREATE TABLE recovery (
    user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key BLOB NOT NULL,  -- SHA-256 of a recovery code
    PRIMARY KEY (user, key)
) WITHOUT ROWID
