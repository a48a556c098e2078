// Package secretfile writes the files of secrets, and removes them again.
//
// A file is delivered whole or not at all: it is written beside its target,
// with mode 0600, and renamed. No symbolic link is followed on the way, from
// the home directory down or from the root. A file with the right content is
// not touched, and one that somebody else wrote, or has changed since, is left
// alone and reported. One that was there before stays when its secret goes.
//
// A journal in the state directory knows every file that may be ours, by a
// salted hash of its content, before it is there. So what a killed process has
// left is found by the next one, and nothing else is ever removed.
package secretfile

import (
	"log/slog"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A File is a secret's file as it shall be.
type File struct {
	Secret  string // its name
	Path    string // "~/…" or "/…", see [api.CheckFilePath]
	Content []byte
	Version int64
}

// A Result is what became of a file.
type Result struct {
	Secret, Path string
	Version      int64 // 0 for a file that was to be removed
	State        api.DeliveryState
	Detail       string // why, and what to do about it; never content
}

// A Config says where files are written.
type Config struct {
	Home string // what "~" stands for; may be reached through links

	// StateDir holds the journal, and is made (0700) if it is not there. It
	// outlives the machine's restart.
	StateDir string

	// MemoryDir is a directory on a tmpfs, which is made (0700) if it is not
	// there. The contents go there, and links to them to where files are
	// wanted. It is empty if the files themselves shall be there.
	MemoryDir string

	// Forbidden are further directories below which no secret is written, such
	// as that of the daemon's sockets.
	Forbidden []string

	Log *slog.Logger
}

// results are those of files that all have one fate.
func results(files []File, state api.DeliveryState, detail string) []Result {
	var all []Result
	for _, file := range files {
		all = append(all, Result{file.Secret, file.Path, file.Version, state, detail})
	}
	return all
}
