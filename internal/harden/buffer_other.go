//go:build !linux

package harden

import "runtime"

func mapBuffer(size int, _ bool) (*Buffer, error) {
	return &Buffer{
		pages: make([]byte, size), size: size, memory: unlocked,
		gap:  "the memory of keys may be swapped to a disk: it is locked on Linux only, and this is " + runtime.GOOS,
		free: func([]byte) error { return nil },
	}, nil
}
