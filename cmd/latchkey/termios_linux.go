package main

import "golang.org/x/sys/unix"

// The requests of tcgetattr(3), and of tcsetattr(3) with TCSAFLUSH.
const (
	readTermios  = unix.TCGETS
	writeTermios = unix.TCSETSF
)

// maxTyped is how much a terminal takes of a line before its newline: the
// kernel drops what is beyond (N_TTY_BUF_SIZE).
const maxTyped = 4095
