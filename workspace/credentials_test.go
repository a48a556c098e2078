package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func write(t *testing.T, path, content string, mode fs.FileMode) string {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentialsOrder(t *testing.T) {
	dir := t.TempDir()
	credentials := filepath.Join(dir, "credentials")
	if err := os.Mkdir(credentials, 0o700); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{}
	for _, from := range []string{"flag", "file", "credential", "handed", "environment"} {
		tokens[from] = api.NewToken(api.WorkspaceToken)
	}
	flag := write(t, filepath.Join(dir, "flag"), tokens["flag"]+"\n", 0o600)
	file := write(t, filepath.Join(dir, "file"), "  "+tokens["file"], 0o400)
	// As systemd makes them where it grants access by a list: the mode shows its mask.
	write(t, filepath.Join(credentials, "latchkey-token"), tokens["credential"]+"\n", 0o440)
	write(t, filepath.Join(credentials, "latchkey-url"), "https://credential.example\n", 0o440)
	write(t, filepath.Join(credentials, "latchkey-ca"), "the credential's CA", 0o440)
	ca := write(t, filepath.Join(dir, "ca"), "the file's CA", 0o644)
	all := []string{
		"LATCHKEY_TOKEN_FILE=" + file, "LATCHKEY_TOKEN=" + tokens["environment"], "LATCHKEY_URL=https://environment.example",
		"LATCHKEY_CA_FILE=" + ca, "CREDENTIALS_DIRECTORY=" + credentials,
	}
	for _, tt := range []struct {
		name             string
		config           CredentialsConfig
		env              []string
		token, url, cert string
	}{
		{"flags", CredentialsConfig{URL: "https://flag.example", TokenFile: flag, CAFile: ca, Token: []byte(tokens["handed"])}, all, "flag", "https://flag.example", "the file's CA"},
		{"files", CredentialsConfig{Token: []byte(tokens["handed"])}, all, "file", "https://credential.example", "the file's CA"},
		{"credentials", CredentialsConfig{Token: []byte(tokens["handed"])}, []string{all[1], all[2], all[4]}, "credential", "https://credential.example", "the credential's CA"},
		{"handed over", CredentialsConfig{Token: []byte(tokens["handed"] + "\n")}, all[2:3], "handed", "https://environment.example", ""},
		{"environment", CredentialsConfig{}, []string{all[1], "CREDENTIALS_DIRECTORY=" + dir}, "environment", api.DefaultURL, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Getenv = getenv(tt.env...)
			got, err := LoadCredentials(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.token.Bytes()) != tokens[tt.token] {
				t.Errorf("the token is not that of the %s; it was found in %s", tt.token, got.From)
			}
			if got.URL != tt.url || string(got.CA) != tt.cert {
				t.Errorf("the server is %s with the CA %q; want %s, %q", got.URL, got.CA, tt.url, tt.cert)
			}
			if strings.Trim(string(tt.config.Token), "\x00") != "" {
				t.Error("the token that was handed over is still in its slice; want it wiped")
			}
			if shown := fmt.Sprintf("%v %+v %#v", got, got, *got); strings.Contains(shown, tokens[tt.token]) {
				t.Errorf("printing the credentials shows the token: %s", shown)
			}
			if err := got.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCredentialsRefused(t *testing.T) {
	dir := t.TempDir()
	good := api.NewToken(api.WorkspaceToken)
	typo := []byte(good)
	typo[20] ^= 1
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		name string
		file string
		is   error  // with errors.Is
		want string // in the error
		hint string
	}{
		{"readable by others", write(t, path("wide"), good, 0o640), nil, "mode 0640", "chmod 600 " + path("wide")},
		{"mistyped", write(t, path("typo"), string(typo), 0o600), api.ErrUnauthenticated, "mistyped", "latchkey workspace token create"},
		{"cut", write(t, path("cut"), good[:30], 0o600), api.ErrUnauthenticated, "has 30 characters", "latchkey workspace token create"},
		{"a user's", write(t, path("session"), api.NewToken(api.SessionToken), 0o600), nil, "session token, which speaks for a user", "latchkey workspace create"},
		{"no token", write(t, path("other"), "hunter2", 0o600), api.ErrUnauthenticated, "not a Latchkey token", "latchkey workspace token create"},
		{"empty", write(t, path("empty"), "\n", 0o600), api.ErrUnauthenticated, "not a Latchkey token", "latchkey workspace token create"},
		{"too long", write(t, path("long"), strings.Repeat("x", maxToken+1), 0o600), api.ErrTooLarge, "larger than 4096 bytes", ""},
		{"missing", path("missing"), fs.ErrNotExist, "no such file", "--token-file"},
		{"directory", dir, nil, "directory", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadCredentials(CredentialsConfig{TokenFile: tt.file, Getenv: getenv()})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.file) {
				t.Fatalf("LoadCredentials: %v; want an error that names %s and says %q", err, tt.file, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("the error is not %v: %v", tt.is, err)
			}
			var problem *Problem
			if errors.As(err, &problem); tt.hint != "" && (problem == nil || !strings.Contains(problem.Hint, tt.hint)) {
				t.Errorf("the hint is %+v; want one that says %q", problem, tt.hint)
			}
			for _, secret := range []string{good[5:], "hunter2"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows the token: %v", err)
				}
			}
		})
	}
	if _, err := LoadCredentials(CredentialsConfig{Getenv: getenv()}); !errors.Is(err, ErrNoToken) {
		t.Errorf("without any token: %v; want ErrNoToken", err)
	}
	if _, err := LoadCredentials(CredentialsConfig{CAFile: path("nothing"), Getenv: getenv()}); err == nil || !strings.Contains(err.Error(), "CA certificate") {
		t.Errorf("with a CA file that is not there: %v; want an error about it", err)
	}
}

// A pipe, such as a shell's <(…), is no file that stays behind.
func TestTokenFromAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	token := api.NewToken(api.WorkspaceToken)
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(path, []byte(token+"\n"), 0) }()
	c, err := LoadCredentials(CredentialsConfig{TokenFile: path, Getenv: getenv()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if string(c.token.Bytes()) != token {
		t.Error("the token is not the one that was written to the pipe")
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestClientRefusesPlainHTTP(t *testing.T) {
	c, err := LoadCredentials(CredentialsConfig{URL: "http://keys.example", Getenv: getenv("LATCHKEY_TOKEN=" + api.NewToken(api.WorkspaceToken))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var problem *Problem
	if _, err := c.Client(); !errors.As(err, &problem) || !strings.Contains(err.Error(), "https") {
		t.Errorf("Client for plain http on another host: %v; want a problem that says https", err)
	}
}
