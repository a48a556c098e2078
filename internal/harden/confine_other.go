//go:build !linux

package harden

import "runtime"

func confine(*Report, Confinement) (gaps []string) {
	return []string{"not confined: that is done on Linux only, and this is " + runtime.GOOS}
}
