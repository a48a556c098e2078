package api

import (
	"errors"
	"testing"
	"time"
)

// What can be done about a refusal is a command for the key, where its name is known
// and is one.
func TestPermitsNamesTheKey(t *testing.T) {
	past := time.Unix(0, 0)
	for _, tt := range []struct {
		use    KeyUse
		policy KeyPolicy
		want   string
	}{
		{KeyUse{Key: "work"}, KeyPolicy{UsableUntil: &past}, `"latchkey key set work --usable 8h" lets it be used again`},
		{KeyUse{Key: "work", Namespace: "file"}, KeyPolicy{}, `"latchkey key set work --namespace …", with all it signs for, allows another`},
		{KeyUse{Key: "work", Host: "SHA256:x"}, KeyPolicy{Hosts: []KeyHost{{Name: "git", Fingerprint: "SHA256:y"}}}, `"latchkey key set work --host …", with all its hosts, allows another`},
		{KeyUse{}, KeyPolicy{UsableUntil: &past}, `"latchkey key set NAME --usable 8h" lets it be used again`},
		{KeyUse{Key: "x; reboot"}, KeyPolicy{UsableUntil: &past}, `"latchkey key set NAME --usable 8h" lets it be used again`},
	} {
		var e *Error
		if err := tt.policy.Permits(tt.use, time.Now()); !errors.As(err, &e) || e.Detail != tt.want {
			t.Errorf("Permits(%+v) = %#v; want that one can do %s", tt.use, err, tt.want)
		}
	}
}
