package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A first start needs nothing, and prints once how to log in.
func TestFirstStart(t *testing.T) {
	s := newSite(t)
	r := s.serve(t, "--verbose")
	token := r.firstToken()
	admin, err := r.client(token).User(t.Context(), api.Me)
	if err != nil || admin.Role != api.RoleAdmin {
		t.Fatalf("the first admin: %+v, %v; want the role admin", admin, err)
	}
	if _, err := r.client(api.NewToken(api.SessionToken)).User(t.Context(), api.Me); !errors.Is(err, api.ErrUnauthenticated) {
		t.Errorf("another token: %v; want ErrUnauthenticated", err)
	}
	created, err := r.client(token).CreateUser(t.Context(), api.CreateUserRequest{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	if got := r.stdout.String(); strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, "# ") {
		t.Errorf("stdout is %q; want a comment and the line that logs in", got)
	}
	for _, secret := range []string{token, created.Token.Token} {
		if strings.Contains(r.said(), secret[5:25]) {
			t.Error("the log holds a token")
		}
	}

	again := s.serve(t)
	if u, err := again.client(token).User(t.Context(), "alice"); err != nil || u.ID != created.ID {
		t.Errorf("alice after a second start: %+v, %v; want her", u, err)
	}
	again.stop()
	if again.stdout.Len() != 0 {
		t.Errorf("the second start printed %q; want nothing", again.stdout)
	}
}

// A login line that could not be printed is not lost in silence.
func TestFirstLoginNotPrinted(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		lacks(t, "there is no /dev/full: "+err.Error())
	}
	defer full.Close()
	s := newSite(t)
	cmd := s.command(t, "serve", "--listen", "127.0.0.1:0")
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = full, &stderr
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitError {
		t.Errorf("latchkeyd ended with %v; want exit status %d", err, exitError)
	}
	for _, want := range []string{"error: the first admin's login line is lost", `hint: "latchkeyd token admin" prints another`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("latchkeyd says\n%swant %q", stderr.String(), want)
		}
	}
	s.must(t, "token", "admin")
}

// Whoever reads the log may go: the server stays.
func TestLogReaderGone(t *testing.T) {
	s := newSite(t)
	cmd := s.command(t, "serve", "--listen", "127.0.0.1:0", "--log", "json", "--verbose")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var line logLine
	for scan := bufio.NewScanner(stderr); line.Msg != "ready" && scan.Scan(); {
		json.Unmarshal(scan.Bytes(), &line)
	}
	stderr.Close()
	for range 2 { // each is a line of the log
		resp, err := http.Get(line.URL + "/healthz")
		if err != nil {
			t.Fatalf("without a reader of its log the server is gone: %v", err)
		}
		resp.Body.Close()
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM latchkeyd ended with %v; want status 0", err)
	}
}

// What a server keeps is for its own user only, wherever it was told to keep it.
func TestDataDirectory(t *testing.T) {
	for name, set := range map[string]func(*site) (dir string, args []string){
		"the default": func(s *site) (string, []string) { return s.data(), nil },
		"XDG_DATA_HOME": func(s *site) (string, []string) {
			s.env = []string{"XDG_DATA_HOME=" + s.home + "/xdg"}
			return s.home + "/xdg/latchkeyd", nil
		},
		"a relative XDG_DATA_HOME, which is ignored": func(s *site) (string, []string) {
			s.env = []string{"XDG_DATA_HOME=xdg"}
			return s.data(), nil
		},
		"LATCHKEYD_DATA": func(s *site) (string, []string) {
			s.env = []string{"LATCHKEYD_DATA=" + s.home + "/a/b/c"}
			return s.home + "/a/b/c", nil
		},
		"the flag before the variable": func(s *site) (string, []string) {
			s.env = []string{"LATCHKEYD_DATA=" + s.home + "/other"}
			return s.home + "/flag", []string{"--data", s.home + "/flag"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			dir, args := set(s)
			r := s.serve(t, args...)
			defer r.stop()
			err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := e.Info()
				if err == nil && info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %04o; want nothing for others", path, info.Mode().Perm())
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			for _, name := range []string{"latchkey.db", "master.key"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestDev(t *testing.T) {
	s := newSite(t)
	r := s.serve(t, "--dev")
	if _, err := r.client(r.firstToken()).User(t.Context(), api.Me); err != nil {
		t.Error(err)
	}
	r.stop()
	for _, want := range []string{"in memory only", "master key is thrown away", "no record survives"} {
		if !strings.Contains(r.said(), `"level":"WARN"`) || !strings.Contains(r.said(), want) {
			t.Errorf("the log of --dev does not warn %q:\n%s", want, r.said())
		}
	}
	if left, err := os.ReadDir(s.home); err != nil || len(left) != 0 {
		t.Errorf("--dev left %v, %v; want nothing", left, err)
	}
	again := s.serve(t, "--dev")
	if _, err := again.client(again.firstToken()).User(t.Context(), api.Me); err != nil {
		t.Error(err)
	}
	s.refused(t, exitUsage, "--dev stores nothing", "", "serve", "--dev", "--data", "x")
	s.refused(t, exitUsage, "--dev stores nothing", "", "--dev", "--master-key=x")
}

func TestHealthz(t *testing.T) {
	r := newSite(t).serve(t, "--dev")
	resp, err := http.Get(r.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("/healthz = %s; want 200", resp.Status)
	}
}

func TestKeyAlgorithm(t *testing.T) {
	for _, want := range []api.Algorithm{api.Ed25519, api.ECDSA} {
		r := newSite(t).serve(t, "--dev", "--key-algorithm", string(want))
		if k, err := r.client(r.firstToken()).Key(t.Context(), api.Me, api.DefaultKey); err != nil || k.Algorithm != want {
			t.Errorf("with --key-algorithm %s the first key is %q, %v", want, k.Algorithm, err)
		}
	}
}

func TestKeyMode(t *testing.T) {
	for _, want := range []api.KeyMode{api.FetchMode, api.SignMode} {
		r := newSite(t).serve(t, "--dev", "--key-mode", string(want))
		if k, err := r.client(r.firstToken()).Key(t.Context(), api.Me, api.DefaultKey); err != nil || k.Mode != want {
			t.Errorf("with --key-mode %s the first key has the mode %q, %v", want, k.Mode, err)
		}
	}
}

// Another process of the same user must not read the master key out of ours.
func TestServerIsNotDumpable(t *testing.T) {
	r := newSite(t).serve(t)
	info, err := os.Stat("/proc/" + itoa(r.cmd.Process.Pid) + "/mem")
	if err != nil {
		lacks(t, "there is no /proc: "+err.Error())
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; os.Geteuid() != 0 && uid != 0 {
		t.Errorf("the server's memory belongs to uid %d; want root", uid)
	}
	limit := readFile(t, "/proc/"+itoa(r.cmd.Process.Pid)+"/limits")
	if !strings.Contains(limit, "Max core file size        0                    0") {
		t.Errorf("the server may leave a core file:\n%s", limit)
	}
}
