package harden

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapBuffer maps whole pages: with memfd_secret(2) if that is asked for and to be
// had, else locked if they can be, else as they are.
func mapBuffer(size int, secret bool) (*Buffer, error) {
	page := os.Getpagesize()
	length := (size + page - 1) / page * page
	b := &Buffer{size: size, free: unix.Munmap, memory: memfdSecret}
	var err error
	if secret {
		if b.pages, err = mapSecret(length); err == nil {
			return b, nil
		}
		b.gap = fmt.Sprintf("root's debugger can see the memory of keys: memfd_secret: %v; Linux has it from 6.5, before that with secretmem.enable=1", err)
	}
	b.memory = mlocked
	if b.pages, err = unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		return nil, err
	}
	if err := unix.Mlock(b.pages); err != nil {
		b.memory = unlocked
		b.gap = fmt.Sprintf("the memory of keys may be swapped to a disk: mlock: %v; raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK=) to 64 KiB or more", err)
	}
	// Neither in a core file nor in a child.
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_DONTFORK} {
		if err := unix.Madvise(b.pages, advice); err != nil {
			return nil, errors.Join(fmt.Errorf("madvise: %w", err), unix.Munmap(b.pages))
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
		return nil, errors.Join(err, unix.Munmap(pages))
	}
	return pages, nil
}
