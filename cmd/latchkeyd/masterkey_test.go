package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// Over data that one key has sealed, another never begins anew.
func TestMasterKeyRefused(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	token := r.firstToken()
	r.stop()
	path := s.data("master.key")
	good := readFile(t, path)
	for _, tt := range []struct {
		name, problem, hint string
		spoil               func(t *testing.T)
	}{
		{"missing", "there is a store, but no master key at " + path, "restore the key from a backup.*No new key was made", func(*testing.T) {}},
		{"another one", "not the master key under which the store", "restore it from a backup", func(t *testing.T) {
			if _, err := keyserver.CreateMasterKey(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"readable by others", `can be used by others \(mode 0644\)`, "chmod 0600 " + path, func(t *testing.T) {
			writeFile(t, path, []byte(good), 0o600)
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"cut", "is not a Tink keyset", "restore it", func(t *testing.T) { writeFile(t, path, []byte(good[:100]), 0o600) }},
		{"empty", "is empty", "restore it", func(t *testing.T) { writeFile(t, path, nil, 0o600) }},
		{"a directory", "is not a regular file", "name the file", func(t *testing.T) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t)
			before, _ := os.ReadFile(path)
			s.refused(t, exitError, tt.problem, tt.hint, "serve", "--listen", "127.0.0.1:0")
			s.refused(t, exitError, tt.problem, tt.hint, "token", "admin")
			after, err := os.ReadFile(path)
			if string(after) != string(before) || tt.name == "missing" && !errors.Is(err, fs.ErrNotExist) {
				t.Error("the refused start changed the master key's file")
			}
			if tt.name == "missing" {
				writeFile(t, path, nil, 0o600) // for the next Remove
			}
		})
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, []byte(good), 0o600)
	r = s.serve(t)
	if _, err := r.client(token).User(t.Context(), api.Me); err != nil {
		t.Errorf("with the right key again: %v; want all as it was", err)
	}
}

// The key may lie elsewhere than the data, which is how a backup of one is of
// no use without the other.
func TestMasterKeyElsewhere(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.home, "key")
	r := s.serve(t, "--master-key", path)
	token := r.firstToken()
	r.stop()
	if _, err := os.Stat(s.data("master.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with --master-key there is a master.key in the data directory as well (%v)", err)
	}
	s.refused(t, exitError, "there is a store, but no master key", "--master-key", "serve")

	// As systemd hands it over.
	credentials := filepath.Join(s.home, "credentials")
	if err := errors.Join(os.Mkdir(credentials, 0o700), os.Rename(path, filepath.Join(credentials, "latchkeyd-master-key"))); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"CREDENTIALS_DIRECTORY=" + credentials}
	r = s.serve(t)
	if _, err := r.client(token).User(t.Context(), api.Me); err != nil {
		t.Errorf("with the key as a credential: %v", err)
	}
}

// A key without a store is a new server with that key.
func TestMasterKeyBeforeStore(t *testing.T) {
	s := newSite(t)
	if err := os.MkdirAll(s.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := keyserver.CreateMasterKey(s.data("master.key")); err != nil {
		t.Fatal(err)
	}
	key := readFile(t, s.data("master.key"))
	s.serve(t).firstToken()
	if readFile(t, s.data("master.key")) != key {
		t.Error("the first start replaced the master key that it found")
	}
	s = newSite(t)
	s.refused(t, exitError, "making the master key", "must be able to write to "+s.home+"/no", "serve", "--master-key", s.home+"/no/such/dir")
}
