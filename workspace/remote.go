package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/sshagent/signdata"
)

// signTimeout is how long the server may take for a signature: ssh waits, and
// so does the host, which gives a login two minutes.
const signTimeout = 10 * time.Second

// A remoteSigner has the server sign with a private key that stays there.
type remoteSigner struct {
	source *Source
	public ssh.PublicKey
	closed atomic.Bool
}

var _ sshagent.ContextSigner = (*remoteSigner)(nil)

func (r *remoteSigner) PublicKey() ssh.PublicKey { return r.public }

func (r *remoteSigner) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return r.SignWithAlgorithm(random, data, "")
}

func (r *remoteSigner) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	return r.SignContext(context.Background(), data, algorithm)
}

// SignContext has the server sign until ctx ends: then nobody wants the signature any
// more, which is no refusal and says nothing of the server.
func (r *remoteSigner) SignContext(ctx context.Context, data []byte, algorithm string) (*ssh.Signature, error) {
	fingerprint := ssh.FingerprintSHA256(r.public)
	sig, err := r.sign(ctx, fingerprint, data, algorithm)
	if err = withRemedy(err); err != nil {
		if ctx.Err() == nil {
			r.source.keptBack(r.public, err)
		}
		return nil, fmt.Errorf("having the server sign with %s: %w", fingerprint, err)
	}
	return sig, nil
}

func (r *remoteSigner) sign(wanted context.Context, fingerprint string, data []byte, algorithm string) (*ssh.Signature, error) {
	if r.closed.Load() {
		return nil, errForgotten
	}
	algorithm, _, err := algorithmFor(r.public.Type(), algorithm)
	if err != nil {
		return nil, err
	}
	request := api.SignRequest{Fingerprint: fingerprint, Algorithm: algorithm, Data: data}
	if auth, _, err := signdata.Parse(data); err == nil && auth != nil {
		request.Host = r.source.proofs.take(auth.SessionID)
	}
	ctx, cancel := context.WithTimeout(wanted, signTimeout)
	defer cancel()
	number := r.source.number()
	blob, err := r.source.server.Sign(ctx, request)
	if errors.Is(err, api.ErrConflict) { // the key's settings were changed at the same time
		blob, err = r.source.server.Sign(ctx, request)
	}
	if err != nil && wanted.Err() != nil {
		return nil, context.Cause(wanted)
	}
	if r.source.noteUse(number, err); err != nil {
		return nil, err
	}
	sig := new(ssh.Signature)
	if err := ssh.Unmarshal(blob, sig); err != nil {
		return nil, errors.New("the server sent what is no signature")
	}
	// The server, or who stands in for it, may have signed with another key.
	if err := r.public.Verify(data, sig); err != nil || sig.Format != algorithm {
		return nil, errors.New("the server sent a signature that is not what was asked for")
	}
	return sig, nil
}

// Close may be called twice. There is nothing to forget.
func (r *remoteSigner) Close() error {
	r.closed.Store(true)
	return nil
}
