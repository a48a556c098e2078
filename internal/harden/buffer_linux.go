package harden

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// wholePages is a size rounded up to pages.
func wholePages(size int) int {
	page := os.Getpagesize()
	return (size + page - 1) / page * page
}

// mapLocked maps pages that are locked if they can be, else as they are.
func mapLocked(size int) (*Buffer, error) {
	pages, err := unix.Mmap(-1, 0, wholePages(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	b := &Buffer{pages: pages, size: size, memory: mlocked, free: unix.Munmap}
	if err := unix.Mlock(pages); err != nil {
		b.memory = unlocked
		b.gap = fmt.Sprintf("the memory of keys may be swapped to a disk: mlock: %v; raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK=) to 8 MiB", err)
	}
	// Neither in a core file nor in a child.
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_DONTFORK} {
		if err := unix.Madvise(pages, advice); err != nil {
			return nil, errors.Join(fmt.Errorf("madvise: %w", err), unix.Munmap(pages))
		}
	}
	return b, nil
}

// mapSecret maps memory that only this process's page table names
// (memfd_secret(2)). It is locked and never dumped, by its nature.
func mapSecret(size int) (*Buffer, error) {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	length := wholePages(size)
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		return nil, err
	}
	pages, err := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err // EAGAIN: over RLIMIT_MEMLOCK
	}
	if err := unix.Madvise(pages, unix.MADV_DONTFORK); err != nil {
		return nil, errors.Join(err, unix.Munmap(pages))
	}
	return &Buffer{pages: pages, size: size, memory: memfdSecret, free: unix.Munmap}, nil
}
