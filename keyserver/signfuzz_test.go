package keyserver_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent/signdata"
)

// FuzzSign: whatever it is asked to sign, the server answers with a refusal, or
// with a signature of what parses as a login by the key, with the host that has
// proved to be there, or as an SSH signature.
func FuzzSign(f *testing.F) {
	s, err := keyserver.New(f.Context(), keyserver.Config{Store: newStore(f), MasterKey: newMasterKey(f), KeyMode: api.SignMode})
	if err != nil {
		f.Fatal(err)
	}
	admin, _, err := s.FirstAdmin(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	send := func(method, path, token, body string, into any) int {
		r := httptest.NewRequest(method, "/api/v2"+path, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			f.Fatalf("%s %s answered %s", method, path, w.Body)
		}
		return w.Code
	}
	var workspace api.CreatedWorkspace
	send("POST", "/users/me/workspaces", admin, `{"name":"box"}`, &workspace)
	var k api.Key
	send("GET", "/users/me/keys/default", admin, "", &k)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
	if err != nil {
		f.Fatal(err)
	}
	// A corpus outlives the server's key: it names one of the same length.
	placeholder, err := ssh.NewPublicKey(ed25519.PublicKey(bytes.Repeat([]byte{7}, ed25519.PublicKeySize)))
	if err != nil {
		f.Fatal(err)
	}
	git := newHost(f)
	plain := newLogin(placeholder, nil)
	proof := git.proof(f, plain.SessionID)
	f.Add(plain.with(nil), proof.Key, proof.Signature, "")
	f.Add(newLogin(placeholder, git.PublicKey()).with(nil), []byte{}, []byte{}, "ssh-ed25519")
	f.Add(newLogin(git.certify(f, placeholder, ssh.UserCert), nil).with(nil), []byte{}, []byte{}, "")
	f.Add(sshsig("git"), []byte{}, []byte{}, "rsa-sha2-512")
	f.Add([]byte("SSHSIG"), []byte{0}, []byte{0}, "\xff")
	// What is to be refused.
	other := newHost(f)
	f.Add(newLogin(other.PublicKey(), nil).with(nil), []byte{}, []byte{}, "")
	f.Add(newLogin(git.certify(f, placeholder, ssh.HostCert), nil).with(nil), []byte{}, []byte{}, "")
	f.Add(plain.with(nil), proof.Key, git.proof(f, []byte("another session")).Signature, "")
	f.Add(newLogin(placeholder, other.PublicKey()).with(nil), proof.Key, proof.Signature, "")
	f.Add(sshsig("git"), proof.Key, proof.Signature, "")
	f.Add([]byte("neither"), []byte{}, []byte{}, "")
	f.Add(append(sshsig("git"), 0), []byte{}, []byte{}, "")
	f.Fuzz(func(t *testing.T, data, hostKey, hostSignature []byte, algorithm string) {
		data = bytes.ReplaceAll(data, placeholder.Marshal(), key.Marshal())
		in := api.SignRequest{Fingerprint: k.Fingerprint, Data: data, Algorithm: algorithm}
		if len(hostKey)+len(hostSignature) > 0 {
			in.Host = &api.HostProof{Key: hostKey, Signature: hostSignature}
		}
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var answer api.Signature
		status := send("POST", "/workspaceagents/me/sign", workspace.Token.Token, string(body), &answer)
		if status != 200 {
			if status != 400 && status != 403 || len(answer.Signature) > 0 {
				t.Errorf("signing %q = %d; want it signed, or refused", data, status)
			}
			return
		}
		var sig ssh.Signature
		if err := ssh.Unmarshal(answer.Signature, &sig); err != nil || key.Verify(data, &sig) != nil {
			t.Errorf("signing %q = %x, %v; want a signature of it", data, answer.Signature, err)
		}
		login, _, err := signdata.Parse(data)
		if err != nil {
			t.Errorf("%q was signed; want logins and SSH signatures only: %v", data, err)
		} else if err := signable(login, key, in.Host); err != nil {
			t.Errorf("%q was signed: %v", data, err)
		}
	})
}

// signable says why what was parsed is not to be signed by a key: a login, or nil
// for an SSH signature, and the host that is said to be there.
func signable(login *signdata.UserAuth, key ssh.PublicKey, host *api.HostProof) error {
	if login == nil {
		if host != nil {
			return errors.New("it is no login, which a host would be there for")
		}
		return nil
	}
	by, err := ssh.ParsePublicKey(login.Key)
	if cert, ok := by.(*ssh.Certificate); ok && cert.CertType == ssh.UserCert {
		by = cert.Key
	}
	if err != nil || !bytes.Equal(by.Marshal(), key.Marshal()) {
		return fmt.Errorf("it is a login by another key: %v", err)
	}
	if host == nil {
		return nil
	}
	there, err := ssh.ParsePublicKey(host.Key)
	if err != nil {
		return err
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(host.Signature, &sig); err != nil {
		return err
	}
	if login.HostKey != nil && signdata.HostFingerprint(login.HostKey) != signdata.HostFingerprint(host.Key) {
		return errors.New("it names another host than the one that is there")
	}
	return there.Verify(login.SessionID, &sig)
}
