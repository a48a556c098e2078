package keyserver_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// text is a value that is text.
func text(s string) api.SecretValue { return api.SecretValue{Value: &s} }

func ptr[T any](v T) *T { return &v }

// newSecret stores a secret with an environment variable.
func (s *site) newSecret(a *account, name, env, value string) api.Secret {
	s.Helper()
	sec, err := a.CreateSecret(s.Context(), api.Me, api.CreateSecretRequest{Name: name, EnvName: env, SecretValue: text(value)})
	if err != nil {
		s.Fatal(err)
	}
	return sec
}

// fetchSecrets fetches and opens secrets as the workspace daemon does.
func fetchSecrets(t testing.TB, w *api.Client) (out api.WorkspaceSecrets, err error) {
	t.Helper()
	r, err := api.NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := w.FetchSecrets(t.Context(), api.FetchSecretsRequest{Recipient: r.PublicKey()})
	if err != nil {
		return out, err
	}
	opened, err := r.OpenSecrets(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(opened, &out); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

// values are what a workspace is given, by the secrets' names.
func values(t testing.TB, w *api.Client) map[string]string {
	t.Helper()
	got, err := fetchSecrets(t, w)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, sec := range got.Secrets {
		b, ok := sec.Bytes()
		if !ok || sec.Value != nil {
			t.Errorf("secret %s has the value %+v; want it in base64", sec.Name, sec.SecretValue)
		}
		out[sec.Name] = string(b)
	}
	return out
}

// validations are the words of a refusal, with those about its fields.
func validations(t *testing.T, answer string) string {
	t.Helper()
	var e api.Error
	if err := json.Unmarshal([]byte(answer), &e); err != nil {
		t.Fatal(err)
	}
	text := ""
	for i, v := range e.Validations {
		if i > 0 {
			text += "; "
		}
		text += v.Field + ": " + v.Detail
	}
	return text
}

// A lateSecrets lets something happen between a change's checks and the change.
type lateSecrets struct {
	keyserver.Store
	happens func()
}

func (s *lateSecrets) ChangeSecrets(ctx context.Context, user keyserver.UserID, revision int64, change keyserver.SecretChange, e keyserver.Event) error {
	if f := s.happens; f != nil {
		s.happens = nil
		f()
	}
	return s.Store.ChangeSecrets(ctx, user, revision, change, e)
}
