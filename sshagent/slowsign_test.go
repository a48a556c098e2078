package sshagent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// A slowSource has keys that sign as another machine does: when gate gives.
type slowSource struct {
	*testSource
	gate  chan struct{}
	ended chan error // gets why nobody waits for a signature any more
}

func (s slowSource) Signer(ctx context.Context, key ssh.PublicKey) (Signer, error) {
	signer, err := s.testSource.Signer(ctx, key)
	return slowSigner{signer, s}, err
}

type slowSigner struct {
	Signer
	source slowSource
}

func (s slowSigner) SignContext(ctx context.Context, data []byte, algorithm string) (*ssh.Signature, error) {
	select {
	case <-s.source.gate:
		return s.SignWithAlgorithm(nil, data, algorithm)
	case <-ctx.Done():
		s.source.ended <- context.Cause(ctx)
		return nil, ctx.Err()
	}
}

// Who hangs up has no signature made any longer, and ends none of the others'.
func TestHangUpDuringSignature(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		source := slowSource{b.source, make(chan struct{}), make(chan error, 1)}
		b.Source = source
		stays := make(chan error, 1)
		go func() { stays <- b.sign() }()
		conn := b.dial()
		leaves := make(chan error, 1)
		go func() { leaves <- b.signOn(conn) }()
		synctest.Wait()
		conn.Close()
		if err := <-leaves; err == nil {
			t.Error("a client got its signature after it hung up")
		}
		if err := <-source.ended; err != errHungUp {
			t.Errorf("the signature was ended by %v; want %v", err, errHungUp)
		}
		source.gate <- struct{}{}
		if err := <-stays; err != nil {
			t.Errorf("the other client's signature: %v", err)
		}
	})
}
