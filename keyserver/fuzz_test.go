package keyserver_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
)

// fuzzed is a server, without a network, with its first admin's token.
func fuzzed(f *testing.F) (serve func(method, path, body string) (status int, answer string)) {
	s, err := keyserver.New(f.Context(), keyserver.Config{Store: memstore.New(), MasterKey: newMasterKey(f)})
	if err != nil {
		f.Fatal(err)
	}
	token, _, err := s.FirstAdmin(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return func(method, path, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
}

// Whatever a body holds, it is taken or refused, with JSON and the caller's fault.
func FuzzRequest(f *testing.F) {
	serve := fuzzed(f)
	f.Add(`{"name":"alice","role":"user","key_algorithm":"ed25519"}`)
	f.Add(`{"name":null}`)
	f.Add(`{"disabled":true,"role":"admin"}`)
	f.Add(`{"generation":1,"keep_old_seconds":1e3}`)
	f.Add(`{"fingerprint":"SHA256:x","recipient":"AAAA"}`)
	f.Add(`{"description":"\ud800","expires_in_seconds":9223372036854775807}`)
	f.Add("[[[[")
	f.Fuzz(func(t *testing.T, body string) {
		if strings.Contains(body, "rsa4096") {
			return // takes seconds to make
		}
		for _, to := range [][2]string{
			{"POST", "/api/v2/users"}, {"PATCH", "/api/v2/users/me"}, {"POST", "/api/v2/users/me/keys"},
			{"PUT", "/api/v2/users/me/keys/default"}, {"POST", "/api/v2/users/me/tokens"}, {"POST", "/api/v2/users/me/workspaces"},
		} {
			status, answer := serve(to[0], to[1], body)
			if status >= 500 || !json.Valid([]byte(answer)) {
				t.Errorf("%s %s with %q = %d %s; want JSON that takes or refuses it", to[0], to[1], body, status, answer)
			}
		}
	})
}

// Whatever a body about secrets holds, it is taken or refused, with JSON and the
// caller's fault, and what stands in the place of a value does not come back.
func FuzzSecretRequest(f *testing.F) {
	serve := fuzzed(f)
	serve("POST", "/api/v2/users/me/secrets", `{"name":"key","env_name":"KEY","value":"x"}`)
	for _, body := range []string{
		`{"name":"a","env_name":"A","file_path":"~/a","value":"x","workspaces":["b"],"labels":[]}`,
		`{"name":"key","enabled":true,"env_name":"","value_base64":"AAE="}`,
		`{"secrets":[{"secret":"key","env_name":null,"value":""}]}`,
		`{"format":"env","content":"A='b\nc'\nB=2"}`, `{"format":"json","content":"{\"A\":\"b\"}"}`, `{"format":"yaml","content":"A: |\n b\n"}`,
		`{"version":1}`, `{"salt":"AA==","hashes":"AAAAAAAAAAAAAAAAAAAAAA=="}`,
		`{"labels":["x"],"refuse_secrets":false,"requirements":[{"env_name":"A","help":"h"}]}`,
		`{"value":"\ud83d\udd11\ud800"}`, "{\"value\":\"\xff\"}", `[{}]`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, to := range [][2]string{
			{"POST", "/api/v2/users/me/secrets"}, {"PATCH", "/api/v2/users/me/secrets"}, {"PATCH", "/api/v2/users/me/secrets/key"},
			{"POST", "/api/v2/users/me/secrets/batch"}, {"POST", "/api/v2/users/me/secrets/key/rollback"}, {"POST", "/api/v2/users/me/secrets/scan"},
			{"PATCH", "/api/v2/users/me/workspaces/none"}, {"POST", "/api/v2/users/me/workspaces"},
		} {
			status, answer := serve(to[0], to[1], body)
			if status >= 500 || !json.Valid([]byte(answer)) {
				t.Errorf("%s %s with %q = %d %s; want JSON that takes or refuses it", to[0], to[1], body, status, answer)
			}
		}
		// As a value, any text is taken verbatim or refused, and never shown.
		value, err := json.Marshal(body)
		if err != nil || !utf8.ValidString(body) {
			return
		}
		status, answer := serve("PATCH", "/api/v2/users/me/secrets/key", `{"value":`+string(value)+`}`)
		if status >= 500 || len(body) > 40 && strings.Contains(answer, body) {
			t.Errorf("the value %q = %d %s; want it taken or refused, and not shown", body, status, answer)
		}
	})
}

// Whatever is given as a private key, it is imported whole or refused, and what
// it holds does not come back.
func FuzzImport(f *testing.F) {
	serve := fuzzed(f)
	_, edward, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	curtis, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, key := range []any{edward, curtis} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(openSSHPEM(f, key), "")
		f.Add(pemText("PRIVATE KEY", der), "")
		f.Add(pemText("ENCRYPTED PRIVATE KEY", der), "x")
		f.Add(strings.Replace(pemText("EC PRIVATE KEY", der), "\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00000000000000000000000000000000\n\n", 1), "x")
	}
	f.Add("-----BEGIN OPENSSH PRIVATE KEY-----\n", "")
	f.Add("ssh-ed25519 AAAA", "")
	f.Fuzz(func(t *testing.T, text, passphrase string) {
		body, err := json.Marshal(api.RotateKeyRequest{PrivateKey: text, Passphrase: passphrase})
		if err != nil {
			t.Fatal(err)
		}
		status, answer := serve("PUT", "/api/v2/users/me/keys/default", string(body))
		if status != 200 && status != 400 && status != 409 {
			t.Errorf("importing %q = %d %s; want it taken or refused", text, status, answer)
		}
		if status == 200 {
			return // with the public half
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); len(line) > 40 && !strings.HasPrefix(line, "-----") && strings.Contains(answer, line) {
				t.Errorf("the answer %s holds a line of the file", answer)
			}
		}
	})
}
