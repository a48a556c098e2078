//go:build !linux

package workspace

import "golang.org/x/sys/unix"

// closeOnExec keeps the descriptors that this process has from the programs that
// it starts, all but the first three.
func closeOnExec() {
	for fd := 3; fd < 1024; fd++ {
		unix.CloseOnExec(fd)
	}
}
