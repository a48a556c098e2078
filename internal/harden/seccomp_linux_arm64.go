package harden

import "golang.org/x/sys/unix"

const filterArch = unix.AUDIT_ARCH_AARCH64

var refusedOnArch []uint32

var startsPrograms = []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT}
