package harden

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func newBuffer(size int) (*Buffer, error) {
	page := os.Getpagesize()
	b := &Buffer{size: size, free: unix.Munmap}
	length := (size + page - 1) / page * page
	var secretErr error
	if b.pages, secretErr = mapSecret(length); secretErr == nil {
		b.memory = memfdSecret
		return b, nil
	}
	var err error
	if b.pages, err = unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		return nil, fmt.Errorf("memory for a secret of %d bytes: %w", size, err)
	}
	b.memory = mlocked
	b.gap = fmt.Sprintf("root's debugger can see the memory of keys: memfd_secret: %v; Linux has it from 6.5, before that with secretmem.enable=1", secretErr)
	if err := unix.Mlock(b.pages); err != nil {
		b.memory = unlocked
		b.gap = fmt.Sprintf("the memory of keys may be swapped to a disk: mlock: %v; raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK=) to 64 KiB or more", err)
	}
	// Neither in a core file nor in a child.
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_DONTFORK} {
		if err := unix.Madvise(b.pages, advice); err != nil {
			unix.Munmap(b.pages)
			return nil, fmt.Errorf("memory for a secret of %d bytes: madvise: %w", size, err)
		}
	}
	return b, nil
}

// mapSecret maps memory that only this process's page table names
// (memfd_secret(2)). It is locked and never dumped, by its nature.
func mapSecret(length int) ([]byte, error) {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		return nil, err
	}
	pages, err := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err // EAGAIN: over RLIMIT_MEMLOCK
	}
	if err := unix.Madvise(pages, unix.MADV_DONTFORK); err != nil {
		unix.Munmap(pages)
		return nil, err
	}
	return pages, nil
}
