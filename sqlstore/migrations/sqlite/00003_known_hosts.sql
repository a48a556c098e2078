-- The known hosts that the server distributes.

-- +goose Up

-- created_by references nothing: a host stays known when whoever added it goes.
CREATE TABLE known_hosts (
    seq        INTEGER NOT NULL PRIMARY KEY, -- the order in which they were added
    id         BLOB    NOT NULL UNIQUE,
    marker     BLOB    NOT NULL, -- empty: none
    hosts      BLOB    NOT NULL,
    key_type   BLOB    NOT NULL,
    key        BLOB    NOT NULL,
    comment    BLOB    NOT NULL,
    created_at INTEGER,
    created_by BLOB    NOT NULL,
    UNIQUE (marker, hosts, key)
) STRICT;

-- Counts the changes of known_hosts, in its only row.
CREATE TABLE known_hosts_revision (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL
) STRICT;

INSERT INTO known_hosts_revision VALUES (1, 0);
