-- Text is kept in BLOB columns: they compare byte for byte and hold any byte,
-- NUL and broken UTF-8 included, as BYTEA does in PostgreSQL and TEXT does not.
-- Times are microseconds since 1970 in UTC; NULL is the zero time.

-- +goose Up
PRAGMA application_id = 0x4C61746B; -- "Latk": how Open knows its own databases

CREATE TABLE settings (
    name  BLOB NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id         BLOB    NOT NULL PRIMARY KEY,
    name       BLOB    NOT NULL UNIQUE,
    role       BLOB    NOT NULL,
    disabled   INTEGER NOT NULL, -- 0 or 1
    data_key   BLOB    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER,
    updated_at INTEGER
) STRICT, WITHOUT ROWID;

-- A row with its sealed private key may be as large as a page: in a table
-- WITHOUT ROWID it would spill into overflow pages.
CREATE TABLE keys (
    user_id         BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name            BLOB    NOT NULL,
    generation      INTEGER NOT NULL,
    algorithm       BLOB    NOT NULL,
    public_key      BLOB    NOT NULL,
    fingerprint     BLOB    NOT NULL,
    sealed          BLOB    NOT NULL,
    imported        INTEGER NOT NULL, -- 0 or 1
    created_at      INTEGER,
    updated_at      INTEGER,
    expires_at      INTEGER,
    last_fetched_at INTEGER,
    last_fetched_by BLOB    NOT NULL,
    UNIQUE (user_id, name, generation),
    UNIQUE (user_id, fingerprint)
) STRICT;

CREATE TABLE workspaces (
    id         BLOB NOT NULL PRIMARY KEY,
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       BLOB NOT NULL,
    created_at INTEGER,
    UNIQUE (user_id, name)
) STRICT, WITHOUT ROWID;

-- workspace_id references nothing: the revoked tokens of a deleted workspace
-- stay, so that one who still uses them is told so.
CREATE TABLE tokens (
    hash         BLOB NOT NULL PRIMARY KEY,
    id           BLOB NOT NULL UNIQUE,
    kind         BLOB NOT NULL,
    user_id      BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    workspace_id BLOB NOT NULL,
    description  BLOB NOT NULL,
    created_at   INTEGER,
    expires_at   INTEGER,
    revoked_at   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_of ON tokens (user_id, workspace_id);

-- user ids in events reference nothing: events outlive what they tell of.
CREATE TABLE events (
    seq       INTEGER NOT NULL PRIMARY KEY,
    at        INTEGER,
    actor     BLOB    NOT NULL,
    actor_id  BLOB    NOT NULL,
    action    BLOB    NOT NULL,
    target    BLOB    NOT NULL,
    target_id BLOB    NOT NULL,
    remote    BLOB    NOT NULL,
    result    BLOB    NOT NULL,
    detail    BLOB    NOT NULL,
    hash      BLOB    NOT NULL
) STRICT;
