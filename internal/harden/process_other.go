//go:build !linux

package harden

import (
	"math"
	"runtime"
)

func protect() (dumpable bool, coreSize uint64, gaps []string) {
	return true, math.MaxUint64, []string{
		"other processes of this user may read this one's memory, and a crash may leave a core file: that is prevented on Linux only, and this is " + runtime.GOOS,
	}
}
