-- What was signed, for programs.

-- +goose Up

-- JSON, empty for an event that is about no signature. What was signed before has it
-- in words only.
ALTER TABLE events ADD COLUMN facts BLOB NOT NULL DEFAULT x'';
