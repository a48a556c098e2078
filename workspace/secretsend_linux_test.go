package workspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/secretfile"
)

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
		if !state.Refused || !strings.Contains(state.Notice, "the key server refuses this workspace") {
			t.Errorf("%s: refused %t, the notice is %q; want that the workspace is refused", name, state.Refused, state.Notice)
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

// A daemon that can't keep its journal has removed nothing yet, and says so.
func TestRemovingFilesLater(t *testing.T) {
	dir := t.TempDir()
	files := &lateFiles{config: secretfile.Config{Home: dir, StateDir: filepath.Join(dir, "state")}}
	inTheWay := write(t, files.config.StateDir, "", 0o600)
	if left := files.Remove(); len(left) != 1 || left[0].State != api.Failed || left[0].Detail == "" {
		t.Errorf("without a journal Remove = %+v; want that it failed, and why", left)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if left := files.Remove(); len(left) != 0 {
		t.Errorf("with one Remove = %+v; want nothing left", left)
	}
	if err := files.close(); err != nil {
		t.Error(err)
	}
}
