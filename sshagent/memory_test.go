package sshagent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// heap is how many bytes of the heap are in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc) + int(m.StackInuse)
}

// What a client announces costs nothing until it comes.
func TestAnnouncedIsNotAllocated(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		const links, perLink = 256, 32 << 10
		announce := binary.BigEndian.AppendUint32(nil, maxFrame)
		announce = append(announce, make([]byte, 300)...)
		before := heap()
		for range links {
			if _, err := b.dial().Write(announce); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := len(b.links()); n != links {
			t.Fatalf("%d links are there; want %d", n, links)
		}
		if grown := heap() - before; grown > links*perLink {
			t.Errorf("%d links that announce %d bytes and send 300 take %d bytes each; want at most %d, the link itself", links, maxFrame, grown/links, perLink)
		}
	})
}

// A buffer grows as its frame comes, and a large one is not kept.
func TestFrameBufferGrows(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	in := newFrameReader(theirs)
	large := bytes.Repeat([]byte{'x'}, maxFrame)
	go func() {
		for _, body := range [][]byte{large, []byte("small"), large[:keptBuffer]} {
			ours.Write(binary.BigEndian.AppendUint32(nil, uint32(len(body))))
			ours.Write(body)
		}
	}()
	for i, want := range []int{maxFrame, 5, keptBuffer} {
		got, err := in.next()
		if err != nil || len(got) != want {
			t.Fatalf("frame %d is %d bytes, %v; want %d", i, len(got), err, want)
		}
		if cap(in.buf) > keptBuffer {
			t.Errorf("after a frame of %d bytes a buffer of %d is kept; want at most %d", want, cap(in.buf), keptBuffer)
		}
	}
}

func TestFrameEnds(t *testing.T) {
	for _, tt := range []struct {
		sent string
		want error
	}{
		{"", io.EOF},
		{"\x00", io.ErrUnexpectedEOF},
		{"\x00\x00\x00", io.ErrUnexpectedEOF},
		{"\x00\x00\x00\x02x", io.ErrUnexpectedEOF},
		{"\x00\x00\x00\x00", errFrame},
		{"\x00\x04\x00\x01x", errFrame},
		{"\xff\xff\xff\xffx", errFrame},
	} {
		ours, theirs := net.Pipe()
		go func() {
			ours.Write([]byte(tt.sent))
			ours.Close()
		}()
		in := newFrameReader(theirs)
		if got, err := in.next(); got != nil || !errors.Is(err, tt.want) {
			t.Errorf("after %q, next = %q, %v; want %v", tt.sent, got, err, tt.want)
		}
		theirs.Close()
	}
}

func TestMalformedFrameIsLogged(t *testing.T) {
	var log logBuffer
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		b.Log = log.logger()
		conn := b.dial()
		if _, err := conn.Write([]byte{1, 2, 3, 4}); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after a malformed frame, Read = %v; want the link's end", err)
		}
		// Who hangs up between frames has done nothing that is worth a line.
		b.dial().Close()
		synctest.Wait()
	})
	log.want(t, "link ended", "malformed frame", "16909060")
	if n := strings.Count(log.String(), "link ended"); n != 1 {
		t.Errorf("the log tells of %d links that ended; want the malformed one only:\n%s", n, &log)
	}
}

// Idle links cost their goroutine and a small buffer.
func TestIdleLinks(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		const links, perLink = 500, 24 << 10
		before := heap()
		conns := make([]net.Conn, links)
		for i := range conns {
			conns[i] = b.dial()
			if err := b.signOn(conns[i]); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if grown := heap() - before; grown > links*perLink {
			t.Errorf("%d idle links take %d bytes each; want at most %d", links, grown/links, perLink)
		}
		for i, conn := range conns {
			if err := b.signOn(conn); err != nil {
				t.Errorf("link %d of %d: %v", i, links, err)
			}
		}
	})
}
