-- How keys serve, and what they sign.

-- +goose Up

-- The settings of a key, of all its generations. A key without a row has none.
CREATE TABLE key_settings (
    user_id          BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name             BLOB    NOT NULL,
    mode             BLOB    NOT NULL, -- empty: fetch
    hosts            BLOB    NOT NULL, -- a list
    namespaces       BLOB    NOT NULL, -- a list
    refuse_forwarded INTEGER NOT NULL, -- 0 or 1
    usable_until     INTEGER,
    version          INTEGER NOT NULL,
    PRIMARY KEY (user_id, name)
) STRICT;

ALTER TABLE workspaces ADD COLUMN key_mode BLOB NOT NULL DEFAULT x''; -- empty: fetch
