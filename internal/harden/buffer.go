package harden

import "fmt"

// What a Buffer's memory is.
const (
	memfdSecret = "memfd_secret" // not even the kernel maps it, so root's debugger does not see it
	mlocked     = "mlock"        // neither swapped nor dumped
	unlocked    = "unlocked"     // may be swapped
)

// maxBuffer bounds a Buffer, for locked memory is scarce. All secrets of a user
// are 4 MiB at most, unless the server is set to allow more. 8 MiB is what Linux
// lets a process lock by default (since 5.16).
const maxBuffer = 8 << 20

// A Buffer is memory outside the Go heap for what is secret. It stays until
// Close; no finalizer takes it back. What lies in it is not sealed: a private key
// is kept by [Shield] instead.
type Buffer struct {
	pages  []byte // whole pages; nil when closed
	size   int    // what was asked for
	memory string
	gap    string // why it is no better, and what it would take; "" if it is locked
	free   func(pages []byte) error
}

// NewLockedBuffer returns a Buffer of a size in bytes, from 1 to 8 MiB, all zero.
// If no locked memory is to be had it uses what there is: Process reports it. It
// does not use memfd_secret(2), which keeps a machine from hibernating as long as
// it is mapped, and so can be kept all day.
func NewLockedBuffer(size int) (*Buffer, error) {
	if size < 1 || size > maxBuffer {
		return nil, fmt.Errorf("memory for a secret of %d bytes: want 1 to %d", size, maxBuffer)
	}
	b, err := mapLocked(size)
	if err != nil {
		return nil, fmt.Errorf("memory for a secret of %d bytes: %w", size, err)
	}
	return b, nil
}

// Bytes is the memory itself, or nil after Close. It must not be used after
// Close.
func (b *Buffer) Bytes() []byte {
	if b.pages == nil {
		return nil
	}
	return b.pages[:b.size:b.size]
}

// Memory is what the Buffer lies in: "memfd_secret", "mlock" or "unlocked".
func (b *Buffer) Memory() string { return b.memory }

// Close wipes the memory and gives it back. It may be called twice, but not
// while another call on the Buffer is under way.
func (b *Buffer) Close() error {
	pages := b.pages
	if pages == nil {
		return nil
	}
	b.pages = nil
	clear(pages)
	if err := b.free(pages); err != nil {
		return fmt.Errorf("giving back the memory of a secret, which is wiped: %w", err)
	}
	return nil
}
