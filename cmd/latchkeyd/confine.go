package main

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/internal/harden"
)

// confine gives up what a server does not need once it listens: it starts no
// program, connects to nobody, writes to its data directory only, and reads
// what is below, for its certificate may be renewed.
func confine(c *cli.Context, report harden.Report, at *place, log *slog.Logger) {
	keep := harden.Confinement{
		Reads: []string{
			"/etc", "/usr/share", // time zones, types of files
			"/proc", "/sys", // Go's own
		},
		Writes: []string{os.DevNull},
	}
	for _, file := range []string{c.Path("tls-cert"), c.Path("tls-key")} {
		keep.Reads = append(keep.Reads, directoriesOf(file)...)
	}
	if at.lock != nil {
		keep.Writes = append(keep.Writes, filepath.Dir(at.lock.Name()))
	}
	if c.Bool("no-sandbox") {
		report = harden.Unconfined(report, "--no-sandbox")
	} else {
		report = harden.Confine(report, keep)
	}
	for _, gap := range report.Gaps {
		log.Warn("not hardened", "gap", gap)
	}
}

// directoriesOf are the directories in which a file is, and in which what it is
// a link to is: who renews a certificate puts new files there.
func directoriesOf(file string) (dirs []string) {
	if file == "" {
		return nil
	}
	dirs = append(dirs, filepath.Dir(file))
	if real, err := filepath.EvalSymlinks(file); err == nil {
		dirs = append(dirs, filepath.Dir(real))
	}
	return dirs
}
