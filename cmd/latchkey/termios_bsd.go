//go:build darwin || freebsd || netbsd || openbsd

package main

import "golang.org/x/sys/unix"

// The requests of tcgetattr(3), and of tcsetattr(3) with TCSAFLUSH.
const (
	readTermios  = unix.TIOCGETA
	writeTermios = unix.TIOCSETAF
)

// maxTyped is how much a terminal takes of a line before its newline: the
// kernel drops what is beyond (MAX_CANON).
const maxTyped = 1023
