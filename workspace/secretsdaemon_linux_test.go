package workspace

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
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

// Who asks for keys does not wait until the secrets are there.
func TestDaemonOffersKeysBeforeSecrets(t *testing.T) {
	server := newSecretsServer()
	c, keys, _ := secretsConfig(t, server)
	listening, ready := make(chan struct{}), make(chan struct{})
	c.Confine = func() harden.Report { close(listening); return harden.Report{} }
	c.Ready = func(string) { close(ready) }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	server.mu.Lock() // it does not answer
	go func() { ended <- NewDaemon(c).Run(ctx) }()
	<-listening
	if got := offered(t, dial(t, AgentSocket(c.Dir))); len(got) != 1 || got[0] != ssh.FingerprintSHA256(keys.keys[0].public) {
		t.Errorf("before the secrets are there the agent offers %v; want the key", got)
	}
	select {
	case <-ready:
		t.Error("it is ready without its secrets")
	default:
	}
	server.mu.Unlock()
	<-ready
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}
