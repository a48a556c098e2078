-- User secrets, what workspaces say about them, and what decides which of them
-- a workspace is given.
--
-- Lists are JSON in BLOB columns, nothing for an empty list: no statement looks
-- into one. Text within them is in base64, as JSON holds no broken UTF-8.

-- +goose Up

-- Counts the changes of what a user's workspaces are given.
ALTER TABLE users ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;

ALTER TABLE workspaces ADD COLUMN version        INTEGER NOT NULL DEFAULT 1;
ALTER TABLE workspaces ADD COLUMN labels         BLOB    NOT NULL DEFAULT x''; -- a list
ALTER TABLE workspaces ADD COLUMN refuse_secrets INTEGER NOT NULL DEFAULT 0; -- 0 or 1
ALTER TABLE workspaces ADD COLUMN requirements   BLOB    NOT NULL DEFAULT x''; -- a list

-- A change may swap the names and targets of several secrets, and unique
-- columns are checked row by row. So it first takes all of them away: a name is
-- NULL, and no secret is in the way of another, only within such a change.
CREATE TABLE secrets (
    id          BLOB    NOT NULL PRIMARY KEY,
    user_id     BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        BLOB,
    description BLOB    NOT NULL,
    env_name    BLOB    NOT NULL, -- empty: none
    file_path   BLOB    NOT NULL, -- empty: none
    enabled     INTEGER NOT NULL, -- 0 or 1
    workspaces  BLOB    NOT NULL, -- a list
    labels      BLOB    NOT NULL, -- a list
    version     INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    created_at  INTEGER,
    updated_at  INTEGER,
    UNIQUE (user_id, name)
) STRICT;

CREATE UNIQUE INDEX secrets_env_name ON secrets (user_id, env_name) WHERE env_name <> x'';
CREATE UNIQUE INDEX secrets_file_path ON secrets (user_id, file_path) WHERE file_path <> x'';

-- The current value has the version of its secret. The sealed value is the last
-- column: it may fill hundreds of pages, which what stands behind it would make
-- a reader walk through.
CREATE TABLE secret_values (
    secret_id      BLOB    NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    version        INTEGER NOT NULL,
    size           INTEGER NOT NULL,
    created_at     INTEGER,
    rolled_back_to INTEGER NOT NULL, -- 0: none
    sealed         BLOB    NOT NULL,
    PRIMARY KEY (secret_id, version)
) STRICT;

CREATE TABLE deliveries (
    workspace_id BLOB    NOT NULL PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    revision     INTEGER NOT NULL,
    reported_at  INTEGER,
    items        BLOB    NOT NULL -- a list
) STRICT;
