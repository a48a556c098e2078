package harden

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	// maxShielded bounds a shielded secret: where it is sealed, each use opens all of it.
	maxShielded = 1 << 20

	// prekeySize is how much random memory the key of a sealed secret is a hash
	// of, as in OpenSSH (sshkey.c, SSHKEY_SHIELD_PREKEY_LEN): what leaks memory
	// slowly, in parts, or with a bit wrong here and there, does not give it all.
	prekeySize = 16 << 10

	sealOverhead = 12 + 16 // the nonce and the tag of AES-GCM

	sealedAtRest = ", sealed at rest" // follows the memory in which a sealed secret lies
)

// A Shielded is a secret outside the Go heap that is shown only while it is used.
//
// It lies in memory of memfd_secret(2), which nobody else can read. Where that is
// not to be had, it is sealed, in locked memory: what is there is a prekey, and
// the secret under a key that is hashed of all of it, made for the one use and
// erased with it. Whoever reads both whole can do the same. Whoever looks for a
// secret in a core file, a snapshot or a process does not find one.
type Shielded struct {
	in     *Buffer
	sealed bool // in holds what seal makes, and not the secret itself
	gap    string
}

// Shield keeps a copy of a secret of 1 byte to 1 MiB. It must be called in Do,
// for the sake of the secret that it is given.
func Shield(secret []byte) (*Shielded, error) {
	if len(secret) < 1 || len(secret) > maxShielded {
		return nil, fmt.Errorf("memory for a secret of %d bytes: want 1 to %d", len(secret), maxShielded)
	}
	b, why := mapSecret(len(secret))
	if why == nil {
		copy(b.Bytes(), secret)
		return &Shielded{in: b}, nil
	}
	s, err := shieldSealed(secret)
	if err != nil {
		return nil, err
	}
	if s.gap = s.in.gap; s.gap == "" {
		s.gap = fmt.Sprintf("keys are sealed in memory while they are not used, and root can read there what opens them: memfd_secret: %v; Linux has it from 6.5, before that with secretmem.enable=1", why)
	}
	return s, nil
}

// shieldSealed is Shield where there is no memfd_secret(2). Each secret has a
// prekey of its own, which goes with it.
func shieldSealed(secret []byte) (*Shielded, error) {
	b, err := NewLockedBuffer(prekeySize + len(secret) + sealOverhead)
	if err != nil {
		return nil, err
	}
	Do(func() { err = seal(b.Bytes(), secret) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sealing a secret in memory: %w", err), b.Close())
	}
	return &Shielded{in: b, sealed: true}, nil
}

// Use calls f, in Do, with the secret, which is gone when f returns: f must not
// keep it, change it, or hand it to crypto/ed25519 as a private key (which
// crashes on memory outside the heap). The error is f's, or that the secret was
// closed or damaged. Any number of calls may be under way at the same time.
func (s *Shielded) Use(f func(secret []byte) error) (err error) {
	Do(func() { err = s.use(f) })
	return err
}

func (s *Shielded) use(f func([]byte) error) error {
	memory := s.in.Bytes()
	switch {
	case memory == nil:
		return errors.New("the secret was closed")
	case !s.sealed:
		return f(memory)
	}
	secret, err := open(memory)
	if err != nil {
		return err
	}
	defer clear(secret)
	return f(secret)
}

// Memory is what the secret lies in: "memfd_secret", "mlock, sealed at rest" or
// "unlocked, sealed at rest".
func (s *Shielded) Memory() string {
	if s.sealed {
		return s.in.memory + sealedAtRest
	}
	return s.in.memory
}

// Close wipes the secret and what it was sealed with. It may be called twice,
// but not while another call is under way.
func (s *Shielded) Close() error { return s.in.Close() }

// seal fills memory with a prekey and the secret, sealed. Like open, it must be
// called in Do, which erases the key and its schedule.
func seal(memory, secret []byte) error {
	rand.Read(memory[:prekeySize]) // never fails
	a, err := cipherOf(memory)
	if err != nil {
		return err
	}
	a.Seal(memory[prekeySize:prekeySize], nil, secret, nil)
	return nil
}

// open is the reverse. That the tag is checked is more than OpenSSH's AES-CTR
// does: a signature with an RSA key in which one bit has changed can give the
// key away.
func open(memory []byte) ([]byte, error) {
	a, err := cipherOf(memory)
	if err != nil {
		return nil, err
	}
	secret, err := a.Open(nil, nil, memory[prekeySize:], nil)
	if err != nil {
		return nil, errors.New("the secret does not open: the memory in which it is sealed has changed")
	}
	return secret, nil
}

// cipherOf is the cipher for what begins with a prekey. SHA-256 is several times
// as fast as SHA-512 where the processor has it built in, and a use is mostly this.
func cipherOf(memory []byte) (cipher.AEAD, error) {
	key := sha256.Sum256(memory[:prekeySize])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
