package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRefusesPlainHTTP(t *testing.T) {
	s := newSite(t)
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:7843", "10.0.0.1:0"} {
		s.refused(t, exitError, "refusing to listen on .* in plain HTTP", "--tls-cert .* --trusted-proxy", "serve", "--listen", address)
	}
	if left, _ := os.ReadDir(s.home); len(left) != 0 {
		t.Errorf("the refusals left %v", left)
	}
}

// A named proxy may speak plain HTTP, and is believed for whom it forwards.
func TestTrustedProxy(t *testing.T) {
	s := newSite(t)
	r := s.serve(t, "--listen", "0.0.0.0:0", "--trusted-proxy", "127.0.0.1", "--trusted-proxy", "192.0.2.0/24", "--url", "https://keys.example/")
	line := <-r.first
	if !strings.HasSuffix(line, " | latchkey login https://keys.example") {
		t.Errorf("the line that logs in is %q; want it to name --url", line)
	}
	address := strings.Replace(listenAddress(t, r), "[::]", "127.0.0.1", 1)
	address = strings.Replace(address, "0.0.0.0", "127.0.0.1", 1)
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+"/api/v2/users", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", "203.0.113.9")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if tail := s.must(t, "audit", "tail"); !strings.Contains(tail, "203.0.113.9") {
		t.Errorf("the audit log does not name the address that the proxy forwards for:\n%s", tail)
	}
	for _, wrong := range []string{"proxy.example", "0.0.0.0/0", "::/0", "10.0.0.0/99", ""} {
		s.refused(t, exitUsage, "flag --trusted-proxy", "", "serve", "--trusted-proxy="+wrong)
	}
	s.refused(t, exitUsage, "flag --url", "", "serve", "--url", "keys.example")
	s.refused(t, exitUsage, "flag --url", "", "serve", "--url", "http://keys.example")
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSite(t)
	s.refused(t, exitError, "another program listens on "+l.Addr().String(), "--listen", "serve", "--listen", l.Addr().String())
	// Nothing was half-done: the first admin is made on the start that serves.
	s.serve(t).firstToken()
}

func TestListenAddress(t *testing.T) {
	s := newSite(t)
	s.refused(t, exitUsage, `flag --listen: "7843"`, "127.0.0.1:7843", "serve", "--listen", "7843")
	s.refused(t, exitUsage, `flag --listen: "127.0.0.1:99999"`, "", "serve", "--listen", "127.0.0.1:99999")
	r := s.serve(t, "--listen", "localhost:0", "--dev")
	if !strings.HasPrefix(r.url, "http://127.0.0.1:") && !strings.HasPrefix(r.url, "http://[::1]:") {
		t.Errorf("on localhost the address is %s; want one on loopback", r.url)
	}
}

func TestTwoServers(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	s.refused(t, exitError, `another latchkeyd \(process `+itoa(r.cmd.Process.Pid)+`\) serves from `, "stop it first", "serve", "--listen", "127.0.0.1:0")
	r.cmd.Process.Kill()
	r.wait()
	s.serve(t).stop() // what is left of a killed one does not lock
}

// Whoever can write to the directory could replace the store.
func TestDataDirectoryRefused(t *testing.T) {
	s := newSite(t)
	wide := filepath.Join(s.home, "wide")
	if err := errors.Join(os.Mkdir(wide, 0o700), os.Chmod(wide, 0o770)); err != nil {
		t.Fatal(err)
	}
	s.refused(t, exitError, `others can write to the data directory .* \(mode 0770\)`, "chmod 0700 "+wide, "serve", "--data", wide)
	file := filepath.Join(s.home, "file")
	writeFile(t, file, nil, 0o600)
	s.refused(t, exitError, "is not a directory", "--data", "serve", "--data", file)
	s.refused(t, exitError, "making the data directory", "--data", "serve", "--data", filepath.Join(file, "below"))
	if left, _ := os.ReadDir(wide); len(left) != 0 {
		t.Errorf("a refused directory got %v", left)
	}
	s.env = []string{"HOME="}
	s.refused(t, exitError, "there is no home directory", "--data DIR", "serve")
}

func TestDataDirectoryOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "run this test as root: it gives a directory to another user")
	}
	s := newSite(t)
	r := s.serve(t)
	r.stop()
	if err := os.Chown(s.data(), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve"}, {"token", "admin"}, {"audit", "tail"}, {"audit", "verify"}} {
		s.refused(t, exitError, "belongs to uid 12345", "run latchkeyd as that user", args...)
	}
}

func listenAddress(t testing.TB, r *running) string {
	t.Helper()
	_, rest, ok := strings.Cut(r.said(), `"address":"`)
	address, _, _ := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("the log does not name the address:\n%s", r.said())
	}
	return address
}
