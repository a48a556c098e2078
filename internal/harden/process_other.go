//go:build !linux

package harden

import (
	"math"
	"runtime"
)

type limits struct{}

func (*limits) during(start func() error) error { return start() }

func protect(r *Report, _ bool) (gaps []string) {
	r.Dumpable, r.CoreSize, r.CoreMax = true, math.MaxUint64, math.MaxUint64
	return []string{
		"other processes of this user may read this one's memory, and a crash may leave a core file: that is prevented on Linux only, and this is " + runtime.GOOS,
	}
}
