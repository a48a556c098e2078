package sqlstore_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sqlstore"
)

const faultEnv = "SQLSTORE_TEST_FAULT"

// inProcess runs a test again in a process of its own, which it may spoil, and
// with mounts of its own if attr says so.
func inProcess(t *testing.T, attr *syscall.SysProcAttr, run func(t *testing.T)) {
	t.Helper()
	if os.Getenv(faultEnv) == t.Name() {
		run(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), faultEnv+"="+t.Name())
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		cannot(t, "this user may not mount file systems, not even in a user namespace")
	}
	if err != nil {
		t.Fatalf("in a process of its own: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		cannot(t, string(out))
	}
}

// withMounts gives a process mounts of its own, as root or in a user namespace.
func withMounts() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// smallDisk is a directory on a file system of its own.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatalf("keep the mounts to this process: %v", err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", bytes)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// weather makes users, rotates keys and changes secrets from eight goroutines until each has
// been refused at least once, or as often as the storm is long. It returns
// what was acknowledged, in the form of a child's lines, and one refusal.
func weather(t *testing.T, s *sqlstore.Store, name string, length int) (acknowledged []string, refusal error) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range length {
				user := fmt.Sprintf("%s-%d-%d", name, i, j)
				err := createUser(t.Context(), s, user)
				generation := 1
				if err == nil {
					if err = rotate(t.Context(), s, user, 2); err == nil {
						generation = 2
						err = keepSecret(t.Context(), s, user, 2)
					}
					mu.Lock()
					acknowledged = append(acknowledged, fmt.Sprint(user, " ", generation))
					mu.Unlock()
				}
				if err != nil {
					mu.Lock()
					refusal = err
					mu.Unlock()
					return
				}
			}
		})
	}
	all.Wait()
	return acknowledged, refusal
}

// A full disk refuses changes and nothing else, leaves nothing half-done, and
// is forgotten when there is room again.
func TestFullDisk(t *testing.T) {
	inProcess(t, withMounts(), func(t *testing.T) {
		dir := smallDisk(t, 16<<20)
		path := filepath.Join(dir, "latchkey.db")
		s := open(t, path)
		acknowledged, refusal := weather(t, s, "before", 10)
		if refusal != nil {
			t.Fatalf("on a disk with room: %v", refusal)
		}
		for round := range 3 {
			filler := filepath.Join(dir, "filler")
			fill, err := os.Create(filler)
			for err == nil {
				_, err = fill.Write(make([]byte, 4096))
			}
			if fill.Close(); !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("fill the disk: %v", err)
			}

			kept, refusal := weather(t, s, fmt.Sprint("full", round), 1000)
			acknowledged = append(acknowledged, kept...)
			if !errors.Is(refusal, api.ErrUnavailable) || !strings.Contains(refusal.Error(), "full") {
				t.Fatalf("on a full disk: %v; want unavailable, and that the disk is full", refusal)
			}
			doing := func(what string) bool { return strings.HasPrefix(refusal.Error(), what) }
			if !slices.ContainsFunc([]string{"create user", "rotate key", "change the secrets"}, doing) {
				t.Errorf("on a full disk: %q; want what was being done before it", refusal)
			}
			checkKept(t, s, acknowledged) // reading goes on

			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			kept, refusal = weather(t, s, fmt.Sprint("room", round), 10)
			acknowledged = append(acknowledged, kept...)
			if refusal != nil {
				t.Fatalf("when there is room again: %v", refusal)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
		checkKept(t, s, acknowledged)
		s.Close()
		checkFile(t, path)
	})
}

// A write that fails for another reason, here a limit of the process, is told
// as what it is, and over when the reason is.
func TestWriteError(t *testing.T) {
	inProcess(t, nil, func(t *testing.T) {
		signal.Ignore(unix.SIGXFSZ)
		path := filepath.Join(t.TempDir(), "latchkey.db")
		s := open(t, path)
		acknowledged, refusal := weather(t, s, "before", 10)
		if refusal != nil {
			t.Fatal(refusal)
		}
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		least := limit
		least.Cur = 128 << 10
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &least); err != nil {
			t.Fatal(err)
		}
		kept, refusal := weather(t, s, "limited", 1000)
		acknowledged = append(acknowledged, kept...)
		if !errors.Is(refusal, api.ErrUnavailable) || !strings.Contains(refusal.Error(), "I/O error") {
			t.Errorf("with a limit on the file's size: %v; want unavailable, and an I/O error", refusal)
		}
		checkKept(t, s, acknowledged)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		kept, refusal = weather(t, s, "after", 10)
		if refusal != nil {
			t.Fatalf("without the limit again: %v", refusal)
		}
		checkKept(t, s, append(acknowledged, kept...))
	})
}

func TestOpenOnFullDisk(t *testing.T) {
	inProcess(t, withMounts(), func(t *testing.T) {
		refused(t, filepath.Join(smallDisk(t, 8192), "latchkey.db"), "full")
	})
}

func TestReadOnlyDirectory(t *testing.T) {
	inProcess(t, withMounts(), func(t *testing.T) {
		dir := smallDisk(t, 1<<20)
		path := filepath.Join(dir, "latchkey.db")
		s := open(t, path)
		if err := s.Record(t.Context(), keyserver.Event{}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatalf("remount: %v", err)
		}
		refused(t, path, "the directory "+dir+" is not writable")
		refused(t, filepath.Join(dir, "new.db"), "the directory "+dir+" is not writable")
	})
}
