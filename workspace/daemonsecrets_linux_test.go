package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestDaemonDeliversSecrets(t *testing.T) {
	server := newSecretsServer(secret("npm", "NPM_TOKEN", "~/.config/npm/token", "one\x01two"), secret("cert", "", "~/cert.pem", "\x00\xff"))
	server.given.Requirements = []api.Requirement{{EnvName: "NPM_TOKEN", Help: "npm"}, {EnvName: "AWS", Help: "aws"}}
	d := startSecretsDaemon(t, server)
	state := d.state()
	d.want(state, "NPM_TOKEN=one\x01two of npm", map[string]string{".config/npm/token": "one\x01two", "cert.pem": "\x00\xff"})
	if len(state.Missing) != 1 || state.Missing[0].EnvName != "AWS" || state.Notice != "" {
		t.Errorf("the state is %+v; want AWS missing, and nothing to notice", state)
	}
	var session SecretState
	text, err := d.sessionSecrets()
	if err := errors.Join(err, json.Unmarshal(text, &session)); err != nil {
		t.Fatal(err)
	}
	if got := Environ([]string{"A=1", "NPM_TOKEN=old"}, session.Variables); len(got) != 2 || got[1] != "NPM_TOKEN=one\x01two" {
		t.Errorf("the environment of a session is %q; want the secret in it", got)
	}
	s := mustStatus(t, d.Dir).Secrets
	if s.Delivered != 3 || len(s.Items) != 3 || s.Revision != 1 || s.Off || s.AwaySince != nil || s.Memory == "" {
		t.Errorf("the status is %+v; want three targets delivered at revision 1", s)
	}

	server.give(secret("npm", "TOKEN", "~/token", "two"))
	d.want(d.wait(), "TOKEN=two of npm", map[string]string{"token": "two"})
	server.give()
	d.want(d.wait(), "", map[string]string{})
	server.give(secret("npm", "", "~/token", "three"))
	d.want(d.wait(), "", map[string]string{"token": "three"})

	d.stop()
	d.wantFiles(map[string]string{})
	if strings.Contains(d.log.String(), "three") {
		t.Errorf("the log shows a value:\n%s", d.log.String())
	}
}

func TestDaemonWithoutSecrets(t *testing.T) {
	server := newSecretsServer(secret("a", "A", "~/a", "one"))
	d := startSecretsDaemon(t, server, func(c *Config) { c.NoSecrets = true })
	state := d.state()
	d.want(state, "", map[string]string{})
	if state.Notice != noticeOff {
		t.Errorf("the notice is %q; want %q", state.Notice, noticeOff)
	}
	if s := mustStatus(t, d.Dir).Secrets; !s.Off {
		t.Errorf("the status is %+v; want that it takes none", s)
	}
	if n, _, reports := server.counts(); n != 0 || len(reports) != 0 {
		t.Errorf("it asked for secrets %d times and reported %v; want neither", n, reports)
	}
	waited := make(chan error)
	go func() {
		_, err := WaitSecrets(context.Background(), d.Dir, 0)
		waited <- err
	}()
	d.stop()
	if err := <-waited; err == nil {
		t.Error("who waited got an answer; want an error when the daemon ends")
	}
}

// Who waits is let go when the daemon ends, which does not wait for them.
func TestWaitEndsWithTheDaemon(t *testing.T) {
	d := startSecretsDaemon(t, newSecretsServer())
	waited := make(chan error)
	for range 3 {
		go func() {
			_, err := WaitSecrets(context.Background(), d.Dir, d.generation)
			waited <- err
		}()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WaitSecrets(ctx, d.Dir, d.generation); !errors.Is(err, context.Canceled) {
		t.Errorf("who stops waiting gets %v; want context.Canceled", err)
	}
	d.stop()
	for range 3 {
		if err := <-waited; err == nil {
			t.Error("who waited got an answer; want an error when the daemon ends")
		}
	}
	if _, err := Secrets(t.Context(), d.Dir); !NotRunning(err) {
		t.Errorf("after the end Secrets: %v; want that none runs", err)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	// One that is about to be gone has no function of ours left, only who began it.
	stacks = regexp.MustCompile(`(?m)^created by .*`).ReplaceAll(stacks, nil)
	for _, ours := range []string{"(*secretSync)", "(*Daemon)", "(*Client).Watch"} {
		if bytes.Contains(stacks, []byte(ours)) {
			t.Errorf("after the end a goroutine is still in %s:\n%s", ours, stacks)
		}
	}
}

// Files may be impossible; variables and keys are not.
func TestDaemonWithoutAHome(t *testing.T) {
	server := newSecretsServer(secret("a", "A", "~/a", "one"))
	d := startSecretsDaemon(t, server, func(c *Config) { c.Home, c.StateDir = "", "" })
	d.want(d.state(), "A=one of a", map[string]string{})
	items := mustStatus(t, d.Dir).Secrets.Items
	if len(items) != 2 || items[1].State != api.Blocked || !strings.Contains(items[1].Detail, "HOME is not set") {
		t.Errorf("the status lists %+v; want the file blocked, and why", items)
	}
	second := startSecretsDaemon(t, server)
	third := startSecretsDaemon(t, server, func(c *Config) { c.Home, c.StateDir = second.Home, second.StateDir })
	items = mustStatus(t, third.Dir).Secrets.Items
	if len(items) != 2 || items[1].State != api.Failed || !strings.Contains(items[1].Detail, "another workspace daemon") {
		t.Errorf("with a second daemon in one home the status lists %+v; want the file failed, and why", items)
	}
}

func TestDaemonRefusesACacheOnADisk(t *testing.T) {
	server := newSecretsServer()
	c, _, _ := secretsConfig(t, server)
	if ok, _ := isInMemory(c.Dir); ok {
		c.Dir = filepath.Join("/var/tmp", filepath.Base(c.Dir))
		t.Cleanup(func() { os.RemoveAll(c.Dir) })
	}
	c.SecretCache, c.Credentials = 1e12, testCredentials(t, "x")
	var problem *Problem
	if err := NewDaemon(c).Run(t.Context()); !errors.As(err, &problem) || !strings.Contains(err.Error(), "is not in memory") {
		t.Errorf("Run: %v; want that the directory is not in memory", err)
	}
}

func TestFetchSecrets(t *testing.T) {
	server := newSecretsServer(secret("a", "A", "~/a", "one"))
	server.given.Requirements = []api.Requirement{{EnvName: "B"}, {FilePath: "~/a"}}
	client := newClient(t, &testServer{secrets: server})
	state, err := FetchSecrets(t.Context(), client)
	if err != nil || len(state.Variables) != 1 || string(state.Variables[0].Value) != "one" || len(state.Missing) != 1 || !strings.Contains(state.Notice, "no workspace daemon") {
		t.Errorf("FetchSecrets = %+v, %v; want the variable, B missing, and that no file is written", state, err)
	}
	server.become(func() { server.err = &api.Error{Kind: api.ErrUnauthenticated, Message: "revoked"} })
	if _, err := FetchSecrets(t.Context(), client); !errors.Is(err, api.ErrUnauthenticated) {
		t.Errorf("FetchSecrets: %v; want the server's refusal", err)
	}
}
