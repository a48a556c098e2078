package workspace

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// hostKey fetches the host key, as often as it must. It returns nil if ctx ends.
func (s *sshService) hostKey(ctx context.Context) *signer {
	again := newRetry(watchLeast, watchMost)
	for {
		key, err := s.fetchHostKey(ctx)
		if err == nil {
			return key
		}
		if ctx.Err() != nil {
			return nil
		}
		s.note(err)
		again.again()
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-s.alarm.C:
		}
		s.alarm.off()
	}
}

func (s *sshService) fetchHostKey(ctx context.Context) (*signer, error) {
	ctx, cancel := context.WithTimeout(ctx, sshTimeout)
	defer cancel()
	const doing = "fetching the host key: %w"
	described, err := s.server.HostKey(ctx)
	if err != nil {
		return nil, fmt.Errorf(doing, err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(described.PublicKey))
	if err != nil {
		return nil, fmt.Errorf(doing, err)
	}
	kept, err := fetchPrivate(public, func(r api.FetchKeyRequest) ([]byte, error) { return s.server.FetchHostKey(ctx, r) })
	if err != nil {
		s.collect()
		return nil, fmt.Errorf(doing, err)
	}
	return newSigner(public, kept, newEraser(s.collect), s.collect), nil
}

// A sshHostSigner signs with the host key, which the daemon holds.
type sshHostSigner struct {
	link   *sshLink
	public ssh.PublicKey
}

func (s sshHostSigner) PublicKey() ssh.PublicKey { return s.public }

func (s sshHostSigner) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(random, data, "")
}

func (s sshHostSigner) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sshTimeout)
	defer cancel()
	signature := new(ssh.Signature)
	return signature, s.link.ask(ctx, askSign, sshToSign{data, algorithm}, signature, nil)
}
