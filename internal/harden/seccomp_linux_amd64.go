package harden

import "golang.org/x/sys/unix"

const filterArch = unix.AUDIT_ARCH_X86_64

// Only this machine has them.
var refusedOnArch = []uint32{unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_MKNOD, unix.SYS_USELIB, unix.SYS_USTAT}

var startsPrograms = []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_FORK, unix.SYS_VFORK}
