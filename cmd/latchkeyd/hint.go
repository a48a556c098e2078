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
	case errors.Is(err, syscall.ENOSPC), strings.Contains(text, "disk is full"):
		return "make room on the disk of " + string(dir)
	case strings.Contains(text, "another program"), strings.Contains(text, "not a database"):
		return "name the right directory with --data, or restore " + dir.database() + " from a backup"
	}
	return "look at " + dir.database() + ", or restore it from a backup"
}
