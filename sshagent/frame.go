package sshagent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

const (
	// maxFrame is the longest frame in bytes, without its length. It is what
	// OpenSSH's agent and client take (AGENT_MAX_LEN, MAX_AGENT_REPLY_LEN).
	maxFrame = 256 << 10

	// keptBuffer is the largest buffer that a link keeps from one frame to the
	// next: the usual frame has less, and most links are idle.
	keptBuffer = 8 << 10

	// frameTimeout bounds how long one frame may be under way: a link may be
	// idle for as long as it likes, but half a frame holds memory.
	frameTimeout = 30 * time.Second
)

var errFrame = errors.New("malformed frame")

// A frameReader reads the frames (RFC 9987, section 5: a uint32 length, then so
// many bytes) of one link.
type frameReader struct {
	conn net.Conn
	r    *buffer
	buf  []byte
	last []byte // the frame that next returned
}

func newFrameReader(conn net.Conn) frameReader {
	return frameReader{conn: conn, r: &buffer{r: conn}}
}

// next returns the next frame without its length, at least one byte. It is
// valid until the next call. The error is io.EOF at a link's regular end. The
// buffer grows with what arrives: what is only announced costs nothing.
func (f *frameReader) next() ([]byte, error) {
	f.last = nil
	header, err := f.r.peek(4)
	if err != nil {
		if err == io.EOF && len(header) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(header))
	if n < 1 || n > maxFrame {
		return nil, fmt.Errorf("%w: its length is %d bytes; want 1 to %d", errFrame, n, maxFrame)
	}
	f.r.discard(4)
	if f.r.buffered() < n {
		f.conn.SetReadDeadline(time.Now().Add(frameTimeout))
		defer f.conn.SetReadDeadline(time.Time{})
	}
	buf := f.buf[:0]
	for len(buf) < n {
		if len(buf) == cap(buf) {
			buf = grow(buf, min(n-len(buf), max(len(buf), f.r.buffered(), 256)))
		}
		m, err := f.r.read(buf[len(buf):min(cap(buf), n)])
		buf = buf[:len(buf)+m]
		if err != nil && len(buf) < n {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			clear(buf)
			f.r.wipe()
			return nil, fmt.Errorf("a frame of %d bytes ended after %d: %w", n, len(buf), err)
		}
	}
	f.buf = nil
	if cap(buf) <= keptBuffer {
		f.buf = buf
	}
	f.last = buf
	return buf, nil
}

// grow makes room for n more bytes. What it copies it clears: it may be a part
// of a private key.
func grow(b []byte, n int) []byte {
	grown := slices.Grow([]byte(nil), len(b)+n)[:len(b)]
	copy(grown, b)
	clear(b)
	return grown
}

// wipe clears the frame that next returned last, wherever it came by.
func (f *frameReader) wipe() {
	clear(f.last)
	f.r.wipe()
}

// writeFrame sends a frame whose first four bytes are left for its length.
func writeFrame(conn net.Conn, frame []byte) error {
	n := len(frame) - 4
	if n > maxFrame {
		return fmt.Errorf("a frame of %d bytes is over the limit of %d", n, maxFrame)
	}
	binary.BigEndian.PutUint32(frame, uint32(n))
	// Who does not read what they asked for holds memory, too.
	conn.SetWriteDeadline(time.Now().Add(frameTimeout))
	_, err := conn.Write(frame)
	return err
}

// framed leaves room for the length before a frame that came without it.
func framed(body []byte) []byte {
	return append(make([]byte, 4, 4+len(body)), body...)
}
