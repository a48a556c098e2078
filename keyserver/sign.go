package keyserver

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent/signdata"
)

const (
	maxSignData  = 64 << 10 // bytes; an agent's frames hold more, but no login or SSH signature needs it
	maxHostProof = 4 << 10  // bytes of each part; a host's RSA key of 16384 bits has 2 KiB
)

// sign signs for a workspace with a private key that stays here. What it is
// asked to sign it parses: a login or an SSH signature, which the key's policy
// allows. That it was signed is on record before the answer.
func (s *Server) sign(ctx context.Context, c *call, in api.SignRequest) (api.Signature, error) {
	var p problems
	p.fingerprint("fingerprint", in.Fingerprint)
	if len(in.Data) == 0 || len(in.Data) > maxSignData {
		p.add("data", "must have 1 to %d bytes", maxSignData)
	}
	if h := in.Host; h != nil && (len(h.Key) > maxHostProof || len(h.Signature) > maxHostProof) {
		p.add("host", "must have %d bytes at most in each field", maxHostProof)
	}
	if err := p.err("nothing can be signed"); err != nil {
		return api.Signature{}, err
	}
	k, err := s.offeredKey(ctx, c, in.Fingerprint)
	if err != nil {
		return api.Signature{}, err
	}
	c.about(k)
	use, facts, err := parseSigned(k, in, c.at)
	if err == nil {
		err = s.nameHost(ctx, k, use, &facts)
	}
	if err == nil {
		c.doing = inWords(facts)
		c.facts, err = encodeFacts(facts)
	}
	if err != nil {
		return api.Signature{}, err
	}
	use.Key = k.Name
	if err := k.Settings.policy().Permits(use, c.at); err != nil {
		return api.Signature{}, err
	}
	algorithm, ok := signatureAlgorithm(k, in.Algorithm)
	if !ok {
		p.add("algorithm", "must be one that a key of the kind %s has; for RSA that is %s or %s", k.Algorithm, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		return api.Signature{}, p.err("nothing can be signed")
	}
	if k.Algorithm == api.RSA {
		done, err := s.rsa.take(ctx, c.token.ID)
		if err != nil {
			return api.Signature{}, err
		}
		defer done()
	}
	return s.signWith(ctx, c, k, in.Data, algorithm)
}

// signWith makes a signature that is allowed.
func (s *Server) signWith(ctx context.Context, c *call, k Key, data []byte, algorithm string) (api.Signature, error) {
	private, err := s.openKey(ctx, c, k)
	if err != nil {
		return api.Signature{}, err
	}
	defer private.wipe()
	// Side by side, as in fetchKey.
	var signature []byte
	var signing sync.WaitGroup
	signing.Go(func() { signature, err = private.sign(data, algorithm) })
	unrecorded := s.recordSign(ctx, c, k)
	signing.Wait()
	if unrecorded != nil {
		return api.Signature{}, unrecorded
	}
	if err != nil {
		e := c.keyEvent(k)
		e.Result, e.Detail = Failed, c.doing+": "+e.Detail+": "+err.Error()
		return api.Signature{}, errors.Join(err, s.record(ctx, e))
	}
	return api.Signature{Signature: signature}, nil
}

// recordSign must succeed before the signature leaves.
func (s *Server) recordSign(ctx context.Context, c *call, k Key) error {
	e := c.keyEvent(k)
	e.Detail = c.doing + "; " + e.Detail
	switch err := s.store.RecordSign(ctx, c.user.ID, k.Name, k.Generation, k.Settings.Version, e); {
	case errors.Is(err, api.ErrNotFound):
		return &denial{refusal(api.ErrNotFound, "list the keys again", "key %s was replaced at the same time", k.Fingerprint)}
	case errors.Is(err, api.ErrConflict):
		return &denial{refusal(api.ErrConflict, "try again", "what key %s may sign was changed at the same time", k.Name)}
	case errors.Is(err, api.ErrUnauthenticated):
		return err
	case err != nil:
		return fmt.Errorf("recording a signature with key %s: %w: %w: %w", k.Fingerprint, err, errAudit, api.ErrUnavailable)
	}
	return nil
}

// proven is the fingerprint of the host that has signed a session's ID.
func proven(h api.HostProof, session []byte) (string, error) {
	key, err := ssh.ParsePublicKey(h.Key)
	if err != nil {
		return "", errors.New("the host's key is not one for SSH")
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(h.Signature, &sig); err != nil {
		return "", errors.New("the host's signature is malformed")
	}
	if err := key.Verify(session, &sig); err != nil {
		return "", errors.New("the host's key did not sign the session of the login")
	}
	return signdata.HostFingerprint(h.Key), nil
}

// signatureAlgorithm is the algorithm that is asked for, if the key has it.
// SHA-1, which is what plain "ssh-rsa" means, is left out.
func signatureAlgorithm(k Key, asked string) (algorithm string, ok bool) {
	switch k.Algorithm {
	case api.RSA:
		if asked == "" {
			asked = ssh.KeyAlgoRSASHA512
		}
		return asked, asked == ssh.KeyAlgoRSASHA512 || asked == ssh.KeyAlgoRSASHA256
	case api.ECDSA:
		algorithm = ssh.KeyAlgoECDSA256
	case api.Ed25519:
		algorithm = ssh.KeyAlgoED25519
	}
	return algorithm, algorithm != "" && (asked == "" || asked == algorithm)
}

// sign signs with a private key. Its errors don't hold those of the parsers,
// which might quote the key.
func (p plaintext) sign(data []byte, algorithm string) ([]byte, error) {
	key, err := x509.ParsePKCS8PrivateKey(p.reveal())
	if err != nil {
		return nil, errors.New("a stored private key is not PKCS #8")
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("a stored private key does not sign")
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		return nil, errors.New("a stored private key is not one for SSH")
	}
	algorithms, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("a stored private key signs by no algorithm")
	}
	signature, err := algorithms.SignWithAlgorithm(rand.Reader, data, algorithm)
	if err != nil {
		return nil, errors.New("a stored private key can't sign")
	}
	return ssh.Marshal(signature), nil
}
