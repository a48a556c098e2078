//go:build !linux

package harden

import (
	"errors"
	"runtime"
)

func mapSecret(int) (*Buffer, error) { return nil, errors.ErrUnsupported }

func mapLocked(size int) (*Buffer, error) {
	return &Buffer{
		pages: make([]byte, size), size: size, memory: unlocked,
		gap:  "the memory of keys may be swapped to a disk: it is locked on Linux only, and this is " + runtime.GOOS,
		free: func([]byte) error { return nil },
	}, nil
}
