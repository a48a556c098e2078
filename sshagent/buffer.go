package sshagent

import "io"

// A buffer reads ahead of a link, as a bufio.Reader does, and can wipe what it
// has given away: private keys and passwords come this way.
type buffer struct {
	r          io.Reader
	b          []byte
	start, end int // what was read and not taken yet
}

const bufferSize = 2 << 10

// peek returns the next n bytes, which stay; fewer if there is an error.
func (b *buffer) peek(n int) ([]byte, error) {
	if b.b == nil {
		b.b = make([]byte, bufferSize)
	}
	for b.end-b.start < n {
		if b.start > 0 {
			b.end = copy(b.b, b.b[b.start:b.end])
			b.start = 0
		}
		m, err := b.r.Read(b.b[b.end:])
		b.end += m
		if err != nil && b.end-b.start < n {
			return b.b[b.start:b.end], err
		}
	}
	return b.b[b.start : b.start+n], nil
}

// read reads into p what is there, else what comes next.
func (b *buffer) read(p []byte) (int, error) {
	switch {
	case b.end > b.start:
		n := copy(p, b.b[b.start:b.end])
		b.start += n
		return n, nil
	case len(p) >= bufferSize:
		return b.r.Read(p)
	}
	if _, err := b.peek(1); err != nil {
		return 0, err
	}
	return b.read(p)
}

func (b *buffer) discard(n int) { b.start += n }

func (b *buffer) buffered() int { return b.end - b.start }

// wipe clears all but what is not taken yet.
func (b *buffer) wipe() {
	if b.start > 0 {
		b.end = copy(b.b, b.b[b.start:b.end])
		b.start = 0
	}
	clear(b.b[b.end:])
}
