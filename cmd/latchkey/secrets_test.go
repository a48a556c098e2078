package main

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// A secretsDaemon answers on the control socket of a runtime directory as a
// workspace daemon does that was given these secrets.
type secretsDaemon struct {
	Dir string

	mu      sync.Mutex
	changed sync.Cond
	state   workspace.SecretState
	files   []workspace.Variable // values of secrets with a file
	waiting int                  // requests that wait for a change
}

// newSecretsDaemon serves until the test ends, for this process and what it
// starts.
func newSecretsDaemon(t *testing.T, vars ...workspace.Variable) *secretsDaemon {
	t.Helper()
	d := &secretsDaemon{Dir: shortDir(t)}
	d.changed.L = &d.mu
	d.state = workspace.SecretState{Variables: vars, Generation: 1, Known: true}
	l, err := net.Listen("unix", workspace.ControlSocket(d.Dir))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		d.change(func(s *workspace.SecretState) {}) // who waits, goes
		serving.Wait()
	})
	t.Setenv("LATCHKEY_RUNTIME_DIR", d.Dir)
	return d
}

func (d *secretsDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64); err == nil {
		gone := r.Context().Done()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-gone:
				d.changed.Broadcast()
			case <-stop:
			}
		}()
		d.waiting++
		d.changed.Broadcast()
		for d.state.Generation == after && r.Context().Err() == nil {
			d.changed.Wait()
		}
		d.waiting--
	}
	if r.URL.Path == "/secrets/files" {
		json.NewEncoder(w).Encode(workspace.SecretState{Variables: d.files, Known: true})
		return
	}
	json.NewEncoder(w).Encode(d.state)
}

// change makes a change, which those that wait are told.
func (d *secretsDaemon) change(how func(*workspace.SecretState)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	how(&d.state)
	d.state.Generation++
	d.changed.Broadcast()
}

func (d *secretsDaemon) set(vars ...workspace.Variable) {
	d.change(func(s *workspace.SecretState) { s.Variables = vars })
}

// awaitWatcher waits until somebody waits for a change.
func (d *secretsDaemon) awaitWatcher() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.waiting == 0 {
		d.changed.Wait()
	}
}

// variable is one whose secret has the same name in small letters.
func variable(name, value string) workspace.Variable {
	return workspace.Variable{Name: name, Value: []byte(value), Secret: "secret-" + name}
}

func needs(env, help string) api.Requirement { return api.Requirement{EnvName: env, Help: help} }
