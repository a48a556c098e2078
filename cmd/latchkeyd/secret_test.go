package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// No file of the data directory holds a secret's value, while the server runs,
// after it was killed, and after it has stopped.
func TestSecretsOnDisk(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	token := r.firstToken()
	const value = "Canary<Value>\"4711\"\nsecond-line-of-it"
	look := func(when string) {
		t.Helper()
		files, err := filepath.Glob(s.data("*"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%s the data directory has %v, %v", when, files, err)
		}
		needles := []string{value, "Canary<Value>", "second-line-of-it", hex.EncodeToString([]byte(value))}
		for i := range 3 {
			needles = append(needles, base64.StdEncoding.EncodeToString(append(make([]byte, i), value...))[4:40])
		}
		found := false
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || bytes.Contains(content, []byte("the-name-of-it"))
			for _, n := range needles {
				if bytes.Contains(content, []byte(n)) {
					t.Errorf("%s %s holds the value, as %q", when, file, n)
				}
			}
		}
		if !found {
			t.Errorf("%s no file holds the name of the secret, so this test looks in the wrong place", when)
		}
	}
	v := value
	for range 3 {
		name := fmt.Sprint("the-name-of-it", len(v))
		if _, err := r.client(token).CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: name, FilePath: "~/" + name, SecretValue: api.SecretValue{Value: &v}}); err != nil {
			t.Fatal(err)
		}
		v += value
	}
	look("while the server runs")
	r.signal(syscall.SIGKILL)
	r.wait()
	look("after it was killed")
	r = s.serve(t)
	list, err := r.client(token).Secrets(t.Context(), api.Me)
	if err != nil || len(list) != 3 {
		t.Errorf("after it was killed there are %d secrets, %v; want 3", len(list), err)
	}
	r.stop()
	look("after it has stopped")
}

// A workspace that watches does not keep the server from stopping.
func TestStopEndsWatches(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	w, err := r.client(r.firstToken()).CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"/api/v2/workspaceagents/me/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Token.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != ":\n" {
		t.Fatalf("the watch begins with %q, %v", line, err)
	}
	begin := time.Now()
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 0 || time.Since(begin) >= stopTime {
		t.Errorf("with a watch under way the server ended with %d after %v; want 0, and no waiting\n%s", code, time.Since(begin), r.said())
	}
}

func TestLimitFlags(t *testing.T) {
	s := newSite(t)
	r := s.serve(t, "--max-secrets", "1", "--max-secret-size", "2", "--max-file-secret-size", "3", "--max-secrets-env-total", "4", "--max-secrets-total", "5",
		"--secret-versions", "6", "--reserve-env", "CI_*", "--reserve-env", "DATABASE_URL")
	c := r.client(r.firstToken())
	want := api.Limits{Secrets: 1, EnvValue: 2, FileValue: 3, EnvTotal: 4, Total: 5, Versions: 6}
	if got, err := c.Limits(t.Context()); err != nil || got != want {
		t.Errorf("the limits are %+v, %v; want %+v", got, err, want)
	}
	v := "x"
	for _, name := range []string{"CI_TOKEN", "DATABASE_URL"} {
		_, err := c.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "a", EnvName: name, SecretValue: api.SecretValue{Value: &v}})
		if err == nil || !strings.Contains(err.Error(), name+" is reserved") {
			t.Errorf("a secret in %s: %v; want it refused", name, err)
		}
	}
	r.stop()
	for flag, problem := range map[string]string{
		"--max-secrets=0":                  "flag --max-secrets: 0: want 1 or more",
		"--secret-versions=-1":             "flag --secret-versions: -1: want 1 or more",
		"--max-secrets=1001":               "serve: a limit of 1001 secrets of a user: 1 to 1000 are possible",
		"--max-file-secret-size=100000000": "serve: a limit of 100000000 bytes of a value in a file: 1 to 5242880",
		"--reserve-env=A-B":                `flag --reserve-env: "A-B" is no pattern`,
	} {
		s.refused(t, exitUsage, problem, "", "serve", flag)
	}
}
