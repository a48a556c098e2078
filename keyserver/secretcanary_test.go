package keyserver_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// The value of a secret is followed through all that the server does with it,
// also where it fails: it is in no log, no error, no answer but the deliveries,
// and not in the store.
func TestSecretCanaries(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "box")
	const value = "Canary<Value>\"4711\"\nsecond-line-of-it"
	canaries := map[string]string{
		"value":      value,
		"first line": `Canary<Value>`,
		"last line":  "second-line-of-it",
		"JSON":       strings.Trim(toJSON(t, value), `"`),
		"hex":        hex.EncodeToString([]byte(value)),
	}
	for i := range 3 {
		canaries[fmt.Sprint("base64 at ", i)] = base64.StdEncoding.EncodeToString(append(make([]byte, i), value...))[4:40]
	}
	var said bytes.Buffer
	tell := func(v any, err error) {
		e, _ := err.(*api.Error)
		fmt.Fprintf(&said, "%+v %v %+v\n", v, err, e)
	}
	send := func(method, path, token, body string) {
		_, text, header := s.send(method, path, token, body)
		fmt.Fprintln(&said, text, header)
	}
	quoted := toJSON(t, value)
	s.newSecret(alice, "key", "KEY", value)
	damage := func(v []keyserver.SecretValue) { v[0].Sealed = v[0].Sealed[1:] }
	for _, broken := range []error{nil, fmt.Errorf("disk on fire: %w", api.ErrUnavailable)} {
		s.Store.set(func(b *brokenStore) { b.record = broken })
		for _, in := range []api.CreateSecretRequest{
			{Name: "key", EnvName: "KEY", SecretValue: text(value)},
			{Name: "nul", EnvName: "NUL", SecretValue: text(value + "\x00")},
			{Name: "long", EnvName: "LONG", SecretValue: text(strings.Repeat(value, 5000))},
			{Name: "longer", FilePath: "~/l", SecretValue: text(strings.Repeat(value, 50_000))},
			{Name: "both", EnvName: "B", SecretValue: api.SecretValue{Value: ptr(value), ValueBase64: []byte(value)}},
			{Name: "untargeted", SecretValue: text(value)},
			{Name: "no/name", EnvName: "1", SecretValue: text(value)},
		} {
			tell(alice.CreateSecret(t.Context(), api.Me, in))
			tell(alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{Name: &in.Name, EnvName: &in.EnvName, SecretValue: in.SecretValue}))
		}
		tell(alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{SecretValue: text(value + "!")}))
		tell(alice.RollbackSecret(t.Context(), api.Me, "key", api.RollbackSecretRequest{}))
		tell(alice.SecretVersions(t.Context(), api.Me, "key"))
		tell(alice.Secrets(t.Context(), api.Me))
		tell(alice.Secret(t.Context(), api.Me, "key"))
		for _, content := range []string{value, "A=" + quoted + "\nKEY=" + quoted, "A='" + value, `{"A": ` + quoted, `{"A": {"B": ` + quoted + `}}`} {
			for _, format := range []api.ImportFormat{api.Dotenv, api.JSON, api.YAML} {
				tell(alice.ImportSecrets(t.Context(), api.Me, api.ImportSecretsRequest{Format: format, Content: content}))
			}
		}
		for _, body := range []string{
			quoted, `{"value":` + quoted, `{"value":{"x":` + quoted + `}}`, `{"value":[` + quoted + `]}`, `{"enabled":` + quoted + `}`,
			`{"value_base64":` + quoted + `}`, `{"value":` + strings.TrimSuffix(quoted, `"`) + `\ud800"}`, `{"value":` + quoted + `} x`, `{"value":` + quoted + `,"x":1}`,
		} {
			send("PATCH", "/api/v2/users/me/secrets/key", alice.Token, body)
			send("POST", "/api/v2/users/me/secrets", alice.Token, body)
			send("PATCH", "/api/v2/users/me/secrets", alice.Token, `{"secrets":[`+body+`]}`)
			send("PATCH", "/api/v2/users/alice/secrets/key", s.Admin.Token, body)
		}
		tell(alice.ScanSecrets(t.Context(), api.Me, scanFor(t, value)))
		tell(alice.Deliveries(t.Context(), api.Me))
		r, err := api.NewRecipient()
		if err != nil {
			t.Fatal(err)
		}
		tell(w.FetchSecrets(t.Context(), api.FetchSecretsRequest{Recipient: r.PublicKey()}))
		tell(w.FetchSecrets(t.Context(), api.FetchSecretsRequest{Recipient: make([]byte, 32)}))
		s.Store.set(func(b *brokenStore) { b.values = damage })
		send("GET", "/api/v2/workspaceagents/me/secrets", workspace.Token.Token, "")
		s.Store.set(func(b *brokenStore) { b.values = nil })
		if broken != nil {
			send("GET", "/api/v2/workspaceagents/me/secrets", workspace.Token.Token, "")
		}
	}
	s.Store.set(func(b *brokenStore) { b.record = nil })
	tell(s.Admin.Audit(t.Context(), 0, 1000))
	all, stored, _, err := s.Store.CurrentValues(t.Context(), keyserver.UserID(alice.ID))
	if err != nil {
		t.Fatal(err)
	}
	for name, found := range map[string]string{
		"the answers and errors": said.String(),
		"the log":                s.Log.String(),
		"the store":              fmt.Sprintf("%s%s%s", s.records(), fmt.Sprint(all), storedText(stored)),
	} {
		for canary, b := range canaries {
			if at := strings.Index(found, b); at >= 0 {
				t.Errorf("%s hold the %s, behind %q", name, canary, found[max(0, at-100):at])
			}
		}
	}
	// It is found where it is.
	_, answer, _ := s.send("GET", "/api/v2/workspaceagents/me/secrets", workspace.Token.Token, "")
	if !strings.Contains(answer, canaries["JSON"]) {
		t.Errorf("the delivery %s does not hold the value, for this test", answer)
	}
}

func storedText(values []keyserver.SecretValue) string {
	var b strings.Builder
	for _, v := range values {
		fmt.Fprintf(&b, "%s %x", v.Sealed, v.Sealed)
	}
	return b.String()
}
