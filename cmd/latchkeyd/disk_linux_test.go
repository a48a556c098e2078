package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// On a full disk the server refuses what it can't keep, says why, loses nothing
// that it has acknowledged, and goes on when there is room again.
func TestDiskFull(t *testing.T) {
	dir := tmpfs(t, "mode=0700,size=4m")
	s := newSite(t)
	data := filepath.Join(dir, "data")
	r := s.serve(t, "--data", data)
	token := r.firstToken()
	admin := r.client(token)
	workspace, err := admin.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := admin.Key(t.Context(), api.Me, api.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	var acknowledged []string
	create := func(name string) error {
		_, err := admin.CreateUser(t.Context(), api.CreateUserRequest{Name: name})
		if err == nil {
			acknowledged = append(acknowledged, name)
		}
		return err
	}
	err = nil
	for i := 0; err == nil && i < 1000; i++ {
		err = create(fmt.Sprintf("user%d", i))
	}
	var answer *api.Error
	if !errors.Is(err, api.ErrUnavailable) || !errors.As(err, &answer) || !strings.Contains(answer.Message, "refused") || answer.Detail == "" {
		t.Fatalf("making users on a full disk ends with %v; want a 503 that says why", err)
	}
	// No record, no key: a fetch is refused as well, and says that it is the
	// record that can't be made.
	box := r.client(workspace.Token.Token)
	recipient, err := api.NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	fetch := api.FetchKeyRequest{Fingerprint: key.Fingerprint, Recipient: recipient.PublicKey()}
	if sealed, err := box.FetchKey(t.Context(), fetch); !errors.Is(err, api.ErrUnavailable) || sealed != nil || !strings.Contains(err.Error(), "audit log can't be written") {
		t.Errorf("fetching a key on a full disk: %v; want ErrUnavailable, for the audit log can't be written", err)
	}
	if _, err := r.client(api.NewToken(api.SessionToken)).User(t.Context(), api.Me); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("a failed login that can't be recorded: %v; want ErrUnavailable", err)
	}
	// What changes nothing still works.
	if _, err := admin.User(t.Context(), api.Me); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := create("afterwards"); err != nil {
		t.Errorf("with room again: %v; want the server to go on", err)
	}
	if _, err := box.FetchKey(t.Context(), fetch); err != nil {
		t.Errorf("fetching a key with room again: %v", err)
	}
	users, err := admin.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(users) != 1+len(acknowledged) {
		t.Errorf("there are %d users; acknowledged were %d and the admin", len(users), len(acknowledged))
	}
	r.stop()
	if !strings.Contains(r.said(), "disk is full") {
		t.Errorf("the log does not say that the disk is full:\n%s", r.said())
	}
	s.must(t, "audit", "verify", "--data", data)
}

// A first start on a full disk leaves nothing that the next one trips over.
func TestFirstStartOnFullDisk(t *testing.T) {
	dir := tmpfs(t, "mode=0700,size=512k")
	s := newSite(t)
	data := filepath.Join(dir, "data")
	ballast := filepath.Join(dir, "ballast")
	for room := 0; ; room += 16 << 10 { // ever more room, until it is enough
		fill(t, ballast)
		info, err := os.Stat(ballast)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(ballast, max(0, info.Size()-int64(room))); err != nil {
			t.Fatal(err)
		}
		r := s.start(t, "serve", "--data", data, "--listen", "127.0.0.1:0", "--log", "json")
		started := false
		for line := range r.lines {
			if started = line.Msg == "ready"; started {
				r.url = line.URL
				break
			}
		}
		if started {
			r.firstToken()
			r.stop()
			break
		}
		if code := r.wait(); code != exitError || !strings.Contains(r.said(), "latchkeyd: error: ") || !strings.Contains(r.said(), "latchkeyd: hint: make room ") {
			t.Errorf("with %d bytes of room: exit status %d; want an error, and the hint to make room:\n%s", room, code, r.said())
		}
		if room > 512<<10 {
			t.Fatalf("with %d bytes of room latchkeyd still does not start:\n%s", room, r.said())
		}
	}
}

// fill writes a file until the disk is full.
func fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		switch _, err := f.Write(make([]byte, size)); {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
}

func TestReadOnlyDataDirectory(t *testing.T) {
	dir := tmpfs(t, "mode=0700")
	s := newSite(t)
	s.serve(t, "--data", dir).stop()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s.refused(t, exitError, "read-only file system", "must be able to write to "+dir, "serve", "--data", dir)
	s.refused(t, exitError, "making the data directory.*read-only file system", "--data", "serve", "--data", dir+"/below")
}

// tmpfs mounts a file system of a given size.
func tmpfs(t testing.TB, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		lacks(t, "run this test as root: it mounts a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		lacks(t, "mounting a small file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
