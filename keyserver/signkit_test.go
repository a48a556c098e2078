package keyserver_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A login is what ssh has signed to log in (RFC 4252, section 7), and with
// HostKey OpenSSH's publickey-hostbound-v00@openssh.com.
type login struct {
	SessionID []byte
	Message   byte
	User      string
	Service   string
	Method    string
	Signed    bool
	Algorithm string
	Key       []byte
	HostKey   []byte `ssh:"-"`
}

// newLogin is a login as git, by a key.
func newLogin(key ssh.PublicKey, hostKey ssh.PublicKey) login {
	algorithm := key.Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512
	}
	l := login{
		SessionID: []byte("a session id of thirty-two bytes"), Message: 50, User: "git", Service: "ssh-connection",
		Method: "publickey", Signed: true, Algorithm: algorithm, Key: key.Marshal(),
	}
	if hostKey != nil {
		l.Method, l.HostKey = "publickey-hostbound-v00@openssh.com", hostKey.Marshal()
	}
	return l
}

// with is the login after a change, as it is signed.
func (l login) with(change func(*login)) []byte {
	if change != nil {
		change(&l)
	}
	data := ssh.Marshal(struct {
		SessionID             []byte
		Message               byte
		User, Service, Method string
		Signed                bool
		Algorithm             string
		Key                   []byte
	}{l.SessionID, l.Message, l.User, l.Service, l.Method, l.Signed, l.Algorithm, l.Key})
	if l.HostKey != nil {
		data = append(data, ssh.Marshal(struct{ HostKey []byte }{l.HostKey})...)
	}
	return data
}

// sshsig is what ssh-keygen -Y sign has signed.
func sshsig(namespace string) []byte {
	return append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Algorithm, Hash string }{namespace, "", "sha256", string(make([]byte, 32))})...)
}

// A host has a host key.
type host struct{ ssh.Signer }

func newHost(t testing.TB) host {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return host{signer}
}

func (h host) fingerprint() string { return ssh.FingerprintSHA256(h.PublicKey()) }

// proof is what the host proves of a session.
func (h host) proof(t testing.TB, session []byte) *api.HostProof {
	t.Helper()
	sig, err := h.Sign(rand.Reader, session)
	if err != nil {
		t.Fatal(err)
	}
	return &api.HostProof{Key: h.PublicKey().Marshal(), Signature: ssh.Marshal(sig)}
}

// certify makes a certificate of a key.
func (h host) certify(t testing.TB, key ssh.PublicKey, kind uint32) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{Key: key, CertType: kind, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, h); err != nil {
		t.Fatal(err)
	}
	return cert
}

// publicKey is a key of a workspace's list.
func publicKey(t testing.TB, w *api.Client) ssh.PublicKey {
	t.Helper()
	keys, err := w.OfferedKeys(t.Context())
	if err != nil || len(keys) == 0 {
		t.Fatalf("OfferedKeys = %+v, %v; want a key", keys, err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(keys[0].PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign has the server sign, and verifies what it answers.
func sign(t testing.TB, w *api.Client, key ssh.PublicKey, data []byte, proof *api.HostProof) error {
	t.Helper()
	blob, err := w.Sign(t.Context(), api.SignRequest{Fingerprint: ssh.FingerprintSHA256(key), Data: data, Host: proof})
	if err != nil {
		if blob != nil {
			t.Errorf("Sign refused with %v, and gave a signature all the same", err)
		}
		return err
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(blob, &sig); err != nil {
		t.Errorf("Sign gave what is no signature: %v", err)
	} else if err := key.Verify(data, &sig); err != nil {
		t.Errorf("Sign gave a signature that does not verify: %v", err)
	}
	return nil
}

// otherKey is a key that is nobody's.
func otherKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public
}
