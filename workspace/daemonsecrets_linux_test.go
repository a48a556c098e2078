package workspace

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
)

// A secretsDaemon is a daemon in this process, with files in a home directory of
// its own, and the server that it speaks to.
type secretsDaemon struct {
	*testing.T
	*Daemon
	Config
	keys    *testServer
	secrets *secretsServer
	log     *syncBuffer
	stop    func()

	generation int64
}

func secretsConfig(t *testing.T, server *secretsServer) (Config, *testServer, *syncBuffer) {
	keys := &testServer{keys: []testKey{newEd25519(t)}, secrets: server}
	var log syncBuffer
	home := t.TempDir()
	return Config{
		Dir: socketDir(t), Client: newClient(t, keys), Idle: sshagent.DefaultIdle, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Home: home, StateDir: filepath.Join(home, ".local", "state", "latchkey"),
	}, keys, &log
}

// startSecretsDaemon runs one until the test ends.
func startSecretsDaemon(t *testing.T, server *secretsServer, change ...func(*Config)) *secretsDaemon {
	t.Helper()
	c, keys, log := secretsConfig(t, server)
	for _, f := range change {
		f(&c)
	}
	d, stop := startDaemon(t, c)
	sd := &secretsDaemon{T: t, Daemon: d, Config: c, keys: keys, secrets: server, log: log, stop: stop}
	sd.state()
	return sd
}

func (d *secretsDaemon) state() SecretState {
	d.Helper()
	state, err := Secrets(d.Context(), d.Dir)
	if err != nil {
		d.Fatal(err)
	}
	d.generation = state.Generation
	return state
}

// wait waits for the next generation.
func (d *secretsDaemon) wait() SecretState {
	d.Helper()
	state, err := WaitSecrets(d.Context(), d.Dir, d.generation)
	if err != nil {
		d.Fatal(err)
	}
	d.generation = state.Generation
	return state
}

func (d *secretsDaemon) want(state SecretState, variables string, files map[string]string) {
	d.Helper()
	var got []string
	for _, v := range state.Variables {
		got = append(got, v.Name+"="+string(v.Value)+" of "+v.Secret)
	}
	if g := strings.Join(got, ", "); g != variables {
		d.Errorf("the variables are %q; want %q", g, variables)
	}
	d.wantFiles(files)
}

func (d *secretsDaemon) wantFiles(files map[string]string) {
	d.Helper()
	if d.Home == "" {
		return
	}
	there := map[string]string{}
	err := filepath.WalkDir(d.Home, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(path, d.StateDir) {
			return err
		}
		content, err := os.ReadFile(path)
		there[strings.TrimPrefix(path, d.Home+"/")] = string(content)
		return err
	})
	if err != nil {
		d.Fatal(err)
	}
	if !reflect.DeepEqual(there, files) {
		d.Errorf("the files are %q; want %q", there, files)
	}
}

func TestDaemonDeliversSecrets(t *testing.T) {
	server := newSecretsServer(secret("npm", "NPM_TOKEN", "~/.config/npm/token", "one\x01two"), secret("cert", "", "~/cert.pem", "\x00\xff"))
	server.given.Requirements = []api.Requirement{{EnvName: "NPM_TOKEN", Help: "npm"}, {EnvName: "AWS", Help: "aws"}}
	d := startSecretsDaemon(t, server)
	state := d.state()
	d.want(state, "NPM_TOKEN=one\x01two of npm", map[string]string{".config/npm/token": "one\x01two", "cert.pem": "\x00\xff"})
	if len(state.Missing) != 1 || state.Missing[0].EnvName != "AWS" || state.Notice != "" {
		t.Errorf("the state is %+v; want AWS missing, and nothing to notice", state)
	}
	if got := d.Daemon.Environ([]string{"A=1", "NPM_TOKEN=old"}); len(got) != 2 || got[1] != "NPM_TOKEN=one\x01two" {
		t.Errorf("Environ = %q; want the secret in it", got)
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

// What a daemon that was killed has left is removed by the next one, when the
// server has said that it should go, and not before.
func TestDaemonAfterACrash(t *testing.T) {
	server := newSecretsServer(secret("a", "", "~/a", "one"), secret("b", "", "~/b", "two"))
	crashed := startSecretsDaemon(t, server)
	crashed.wantFiles(map[string]string{"a": "one", "b": "two"})
	journal, err := os.ReadDir(crashed.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string][]byte{}
	for _, f := range journal {
		if kept[f.Name()], err = os.ReadFile(filepath.Join(crashed.StateDir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	crashed.stop()
	for name, content := range kept { // as it was before it could end
		write(t, filepath.Join(crashed.StateDir, name), string(content), 0o600)
	}
	write(t, filepath.Join(crashed.Home, "a"), "one", 0o600)
	write(t, filepath.Join(crashed.Home, "b"), "two", 0o600)

	server.become(func() { server.err = api.ErrUnavailable })
	d := startSecretsDaemon(t, server, func(c *Config) { c.Home, c.StateDir = crashed.Home, crashed.StateDir })
	d.wantFiles(map[string]string{"a": "one", "b": "two"})
	server.become(func() { server.err = nil; server.given.Secrets = server.given.Secrets[:1] })
	d.wait()
	d.wantFiles(map[string]string{"a": "one"})
}

func TestDaemonRemovesAllWhenRevoked(t *testing.T) {
	server := newSecretsServer(secret("a", "A", "~/a", "one"))
	revoked := &api.Error{Kind: api.ErrUnauthenticated, Message: "the token was revoked"}
	for name, revoke := range map[string]func(d *secretsDaemon){
		"told": func(d *secretsDaemon) { server.become(func() { server.err = revoked }) },
		"by its key": func(d *secretsDaemon) {
			d.keys.become(func() { d.keys.err = revoked })
			server.become(func() { server.fetchErr = revoked })
			offered(t, dial(t, AgentSocket(d.Dir)))
		},
	} {
		server.become(func() { server.err, server.fetchErr = nil, nil })
		d := startSecretsDaemon(t, server, func(c *Config) {
			c.Dir = filepath.Join(memoryTempDir(t), "run")
			c.SecretCache = 1e12
			c.Credentials = testCredentials(t, "x")
		})
		mustSign(t, dial(t, AgentSocket(d.Dir)), d.keys.keys[0])
		if d.source.Held() != 1 {
			t.Errorf("%s: no key is held at first", name)
		}
		if _, err := os.Stat(filepath.Join(d.Dir, cacheName)); err != nil {
			t.Errorf("%s: there is no cache at first: %v", name, err)
		}
		revoke(d)
		state := d.wait()
		d.want(state, "", map[string]string{})
		if !strings.Contains(state.Notice, "the key server refuses this workspace") {
			t.Errorf("%s: the notice is %q; want that the workspace is refused", name, state.Notice)
		}
		if _, err := os.Stat(filepath.Join(d.Dir, cacheName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the cache is still there: %v", name, err)
		}
		d.stop() // the keys go right after the generation
		if n := d.source.Held(); n != 0 {
			t.Errorf("%s: %d private keys are held; want none", name, n)
		}
	}
}

// A token that is refused at the start leaves nothing of an earlier daemon.
func TestRefusedStartRemovesFiles(t *testing.T) {
	server := newSecretsServer(secret("a", "", "~/a", "one"))
	d := startSecretsDaemon(t, server)
	sum, err := os.ReadDir(d.StateDir)
	if err != nil || len(sum) == 0 {
		t.Fatalf("there is no journal: %v", err)
	}
	d.keys.become(func() { d.keys.err = &api.Error{Kind: api.ErrForbidden, Message: "disabled"} })
	d.stop()
	c := d.Config
	cache := write(t, filepath.Join(c.Dir, cacheName), "of an earlier daemon", 0o600)
	if err := NewDaemon(c).Run(t.Context()); !errors.Is(err, api.ErrForbidden) {
		t.Errorf("Run: %v; want the server's refusal", err)
	}
	d.wantFiles(map[string]string{})
	if _, err := os.Stat(cache); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cache is still there: %v", err)
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
	if n, watches, _ := server.counts(); n != 0 || watches != 0 {
		t.Errorf("it asked for secrets %d times and watched %d times; want neither", n, watches)
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
