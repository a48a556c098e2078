package main

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/workspace"
)

// That the daemon does not say why it has not signed does not mean that it has ended.
func TestSigningWhyNot(t *testing.T) {
	dir := shortDir(t)
	s := &daemonSigner{dir: dir, public: newPublicKey(t)}
	var hinted *hintedError
	if err := s.whyNot(time.Now()); err == nil || err.Error() != "the workspace daemon has ended" || !errors.As(err, &hinted) {
		t.Errorf("without a daemon: %v; want that it has ended, and a hint", err)
	}
	l, err := net.Listen("unix", workspace.ControlSocket(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	if err := s.whyNot(time.Now()); err == nil || strings.Contains(err.Error(), "ended") || !strings.HasPrefix(err.Error(), "asking the workspace daemon: ") {
		t.Errorf("of a daemon that hangs up: %v; want that it was asked in vain", err)
	}
}
