-- What serves SSH in workspaces: their host keys, and who may log in.

-- +goose Up

-- Both are empty for a workspace that has no host key yet.
ALTER TABLE workspaces ADD COLUMN host_key        BLOB NOT NULL DEFAULT x''; -- public, SSH wire form
ALTER TABLE workspaces ADD COLUMN sealed_host_key BLOB NOT NULL DEFAULT x'';

CREATE TABLE login_keys (
    user_id     BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        BLOB NOT NULL,
    public_key  BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    created_at  INTEGER,
    PRIMARY KEY (user_id, name),
    UNIQUE (user_id, fingerprint)
) STRICT;
