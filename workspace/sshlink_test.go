package workspace

import (
	"encoding/binary"
	"net"
	"testing"
)

// An answer counts, also if the link ends right behind it.
func TestSSHLinkEndsBehindAnswer(t *testing.T) {
	for range 200 {
		ours, end, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := net.FileConn(end)
		end.Close()
		if err != nil {
			t.Fatal(err)
		}
		link := &sshLink{conn: ours, largest: maxSSHQuestion, ended: make(chan struct{})}
		go link.run()
		go func() {
			defer theirs.Close()
			theirs.Read(make([]byte, 1024))
			const head = `{"id":1}`
			theirs.Write(append(binary.BigEndian.AppendUint64(nil, uint64(len(head))<<32), head...))
		}()
		if err := link.ask(t.Context(), "anything", nil, nil, nil); err != nil {
			t.Fatalf("what was answered just before the end: %v", err)
		}
		<-link.ended
		ours.Close()
	}
}
