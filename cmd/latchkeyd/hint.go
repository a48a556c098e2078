package main

import (
	"errors"
	"strings"
	"syscall"
)

// storeHint says what can be done about a store that does not open.
func storeHint(err error, dir dataDir) string {
	switch text := err.Error(); {
	case strings.Contains(text, "newer Latchkey"):
		return "run the newer latchkeyd again, or restore the backup that was made before it"
	case errors.Is(err, syscall.EROFS), strings.Contains(text, "not writable"):
		return "latchkeyd must be able to write to " + string(dir) + "; --data names another directory"
	case strings.Contains(text, "another program"), strings.Contains(text, "not a database"):
		return "name the right directory with --data, or restore " + dir.database() + " from a backup"
	}
	return unlessFull(err, "look at "+dir.database()+", or restore it from a backup")
}

// unlessFull is a hint for what a full disk is not the cause of.
func unlessFull(err error, hint string) string {
	if isFull(err) {
		return "make room on the disk"
	}
	return hint
}

// isFull reports whether an error is a full disk's, in the system's words or
// in SQLite's.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), "disk is full") || strings.Contains(err.Error(), "is the disk full")
}
