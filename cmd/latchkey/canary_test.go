package main

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Tokens are printed where they are asked for, and nowhere else: not by lists,
// not by errors, not as JSON.
func TestTokensArePrintedOnlyWhereAskedFor(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	latchkeyWith(t, s.Admin, "login", s.URL).ok(t)
	file := t.TempDir() + "/token"
	key, _ := newKeyFile(t, "")
	secrets := []string{savedToken(t), s.Admin, content(t, key)[40:80]}
	for _, typed := range []string{"workspace create box", "token create", "workspace token create box", "user create ada"} {
		token := anyToken.FindString(latchkey(t, strings.Fields(typed)...).ok(t).stdout)
		if _, err := api.ParseToken(token); err != nil {
			t.Fatalf("latchkey %s printed no token: %v", typed, err)
		}
		secrets = append(secrets, token)
	}
	for _, typed := range []string{
		"status", "publickey", "key show", "key list", "key import x " + key, "key rotate -y", "key rotate", "key delete x -y",
		"workspace create lab --token-file " + file, "workspace token create lab --token-file " + file, "token create --token-file " + file + ".session",
		"workspace list", "workspace token list box --all", "token list --all", "token list", "token revoke x",
		"user list", "user show ada", "user create ada", "user set-role ada auditor", "user disable ada -y",
		"audit", "login " + secrets[0], "login " + s.URL + " " + secrets[0], "key show " + secrets[0], secrets[0],
		"complete -- token revoke ", "complete -- workspace delete ", "logout",
	} {
		for _, flags := range [][]string{nil, {"--json"}} {
			if typed == "logout" && flags == nil {
				continue // last
			}
			args := append(strings.Fields(typed), flags...)
			got := latchkey(t, args...)
			for i, secret := range secrets {
				if strings.Contains(got.stdout+got.stderr, secret) {
					t.Errorf("latchkey %s printed secret %d:\n%s%s", typed, i, got.stdout, got.stderr)
				}
			}
			if _, file, made := strings.Cut(typed, "--token-file "); made && got.code == 0 {
				secrets = append(secrets, strings.TrimSpace(content(t, file)))
				if strings.Contains(got.stdout+got.stderr, secrets[len(secrets)-1]) {
					t.Errorf("latchkey %s printed the token that went to the file", typed)
				}
			}
		}
	}
}
