package secretfile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

const faultEnv = "SECRETFILE_TEST_FAULT"

// withMounts runs a test again in a process of its own, with mounts of its own,
// as root or in a user namespace.
func withMounts(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	if os.Getenv(faultEnv) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			t.Fatalf("keep the mounts to this process: %v", err)
		}
		run(t)
		return
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), faultEnv+"="+t.Name())
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		lacks(t, "this user may not mount file systems, not even in a user namespace")
	}
	if err != nil {
		t.Fatalf("in a process of its own: %v\n%s", err, out)
	}
}

// smallDisk mounts a file system of a size over a directory.
func smallDisk(t *testing.T, dir string, bytes int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", bytes)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if f.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
}

func wantDetail(t *testing.T, r Result, want string) {
	t.Helper()
	if !strings.Contains(r.Detail, want) {
		t.Errorf("%s is %s: %q; want %q", r.Path, r.State, r.Detail, want)
	}
}

// On a full disk the old value stays whole, other files are delivered, and
// there is nothing left to tidy up.
func TestFullDisk(t *testing.T) {
	withMounts(t, func(t *testing.T) {
		s := newSite(t)
		smallDisk(t, s.home, 1<<20)
		smallDisk(t, filepath.Join(s.dir, "elsewhere"), 1<<20)
		f := s.open()
		big := strings.Repeat("big", 50000)
		files := []File{file("OLD", "~/old", "old"), file("SAME", "~/same", "same"), file("NEW", "~/dir/new", "")}
		wantStates(t, f.Deliver(files[:2]), api.Delivered, api.Delivered)
		ballast := filepath.Join(s.home, "ballast")
		fill(t, ballast)
		files[0].Content, files[2].Content = []byte(big), []byte(big)
		for range 2 {
			results := f.Deliver(files)
			wantStates(t, results, api.Failed, api.Delivered, api.Failed)
			wantDetail(t, results[0], "the disk is full; make room")
			wantDetail(t, results[2], "the disk is full; make room")
			s.want("~/old", "old")
			noTemps(t, s, "on a full disk")
		}
		must(t, os.Remove(ballast))
		wantStates(t, f.Deliver(files), api.Delivered, api.Delivered, api.Delivered)
		s.want("~/old", big)
		s.want("~/dir/new", big)
		fill(t, ballast)
		wantStates(t, f.Remove()) // which takes no room
		must(t, os.Remove(ballast))
		wantTree(t, s.home, nil)
	})
}

// Without room for the journal nothing is written that it would not know.
func TestFullJournal(t *testing.T) {
	withMounts(t, func(t *testing.T) {
		s := newSite(t)
		smallDisk(t, s.config.StateDir, 256<<10)
		f := s.open()
		files := []File{file("OLD", "~/old", "old"), file("NEW", "~/dir/new", "new")}
		wantStates(t, f.Deliver(files[:1]), api.Delivered)
		ballast := filepath.Join(s.config.StateDir, "ballast")
		fill(t, ballast)
		results := f.Deliver(files)
		wantStates(t, results, api.Delivered, api.Failed)
		wantDetail(t, results[1], "writing the journal in "+s.config.StateDir+": the disk is full")
		s.want("~/old", "old")
		s.wantNone("~/dir")
		f.Close()
		f = s.open()
		if f.Damaged() != "" {
			t.Errorf("after a full disk the journal is damaged: %s", f.Damaged())
		}
		wantStates(t, f.Remove())
		wantTree(t, s.home, nil)
		must(t, os.Remove(ballast))
		wantStates(t, f.Deliver(files), api.Delivered, api.Delivered)
	})
}

func TestReadOnly(t *testing.T) {
	withMounts(t, func(t *testing.T) {
		s := newSite(t)
		s.config.MemoryDir = ""
		disk := s.path("~/disk")
		smallDisk(t, disk, 1<<20)
		f := s.open()
		files := []File{file("A", "~/disk/a", "1"), file("B", "~/disk/new/b", "b"), file("C", "~/c", "c")}
		f.Deliver(files[:1])
		must(t, unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		files[0].Content = []byte("2")
		results := f.Deliver(files)
		wantStates(t, results, api.Failed, api.Failed, api.Delivered)
		wantDetail(t, results[0], "read-only; choose another path")
		wantDetail(t, results[1], "read-only; choose another path")
		s.want("~/disk/a", "1")
		left := f.Remove()
		wantStates(t, left, api.Failed)
		wantDetail(t, left[0], "removing "+disk+"/a: the file system is read-only")
		f.Close()
		must(t, unix.Mount("", disk, "", unix.MS_REMOUNT, ""))
		f = s.open()
		wantStates(t, f.Remove())
		wantTree(t, disk, nil)
	})
}

// withoutPowers runs something as one whom permissions bind, which even root is
// without its capabilities.
func withoutPowers(t *testing.T, run func()) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var none [2]unix.CapUserData
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
		if err == nil {
			run()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestNoPermission(t *testing.T) {
	s := newSite(t)
	f := s.open()
	must(t, os.Mkdir(s.path("~/closed"), 0o500))
	must(t, os.Mkdir(s.path("~/shut"), 0o000))
	s.write("~/unreadable", "x", 0o000)
	files := []File{
		file("A", "~/closed/a", "a"), file("B", "~/closed/new/b", "b"), file("C", "~/shut/c", "c"),
		file("D", "~/unreadable", "d"), file("E", "~/fine", "e"),
	}
	withoutPowers(t, func() {
		results := f.Deliver(files)
		wantStates(t, results, api.Failed, api.Failed, api.Failed, api.Blocked, api.Delivered)
		for _, r := range results[:3] {
			wantDetail(t, r, "you have no permission")
		}
		wantDetail(t, results[3], "can't be read, so Latchkey can't tell whose it is: chmod u+r "+s.path("~/unreadable"))
	})
	s.want("~/fine", "e")
	must(t, os.Chmod(s.path("~/closed"), 0o700))
	must(t, os.Chmod(s.path("~/shut"), 0o700))
	withoutPowers(t, func() {
		wantStates(t, f.Deliver(files), api.Delivered, api.Delivered, api.Delivered, api.Blocked, api.Delivered)
		must(t, os.Chmod(s.path("~/closed"), 0o500))
		left := f.Remove()
		wantStates(t, left, api.Failed)
		must(t, os.Chmod(s.path("~/closed"), 0o700))
		wantStates(t, f.Remove())
	})
}
