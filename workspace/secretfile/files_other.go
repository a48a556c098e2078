//go:build !linux

package secretfile

import (
	"runtime"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Files delivers nothing here: what keeps a write from being led elsewhere is
// tested on Linux only.
type Files struct{}

// Open does nothing here.
func Open(Config) (*Files, error) { return &Files{}, nil }

// Deliver says of every file that it is not delivered on this system.
func (*Files) Deliver(files []File) []Result {
	return results(files, api.Blocked, "files of secrets are written on Linux only, and this is "+runtime.GOOS+"; use an environment variable")
}

// Remove does nothing here.
func (*Files) Remove() []Result { return nil }

// Damaged is "" here.
func (*Files) Damaged() string { return "" }

// Close does nothing here.
func (*Files) Close() error { return nil }
