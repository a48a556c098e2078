package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// A daemon is "latchkey agent" as a process of its own, which hardening asks for.
type daemon struct {
	*exec.Cmd
	Dir string // of its sockets
	Log []string
	log *bufio.Scanner
}

// newWorkspace makes a workspace of ada's and returns its token.
func newWorkspace(t *testing.T, s *testServer) (token string) {
	t.Helper()
	w, err := s.client(t, s.newUser(t, "ada", api.RoleUser)).CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	return w.Token.Token
}

// agentCommand is "latchkey agent" with an environment of its own.
func agentCommand(t *testing.T, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("latchkey") // this test binary, see TestMain
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"agent"}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LATCHKEY_RUNTIME_DIR=" + dir, "GORACE=atexit_sleep_ms=0"}, env...)
	return cmd
}

// startAgent starts a daemon and returns when it is ready.
func startAgent(t *testing.T, env []string, args ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "lk") // short: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{Cmd: agentCommand(t, dir, env, args...), Dir: dir}
	stderr, err := d.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.log = bufio.NewScanner(stderr)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.ProcessState == nil {
			d.Process.Kill()
			d.Wait()
		}
		if t.Failed() {
			t.Logf("the daemon said:\n%s", strings.Join(d.Log, "\n"))
		}
	})
	d.await(t, "ready")
	return d
}

// await reads the log until a line has this text, and returns the line.
func (d *daemon) await(t *testing.T, text string) string {
	t.Helper()
	for d.log.Scan() {
		d.Log = append(d.Log, d.log.Text())
		if strings.Contains(d.log.Text(), text) {
			return d.log.Text()
		}
	}
	t.Fatalf("the daemon ended without saying %q:\n%s", text, strings.Join(d.Log, "\n"))
	return ""
}

// end waits for the daemon's end and returns its exit status, or 128 and the signal.
func (d *daemon) end(t *testing.T) int {
	t.Helper()
	for d.log.Scan() {
		d.Log = append(d.Log, d.log.Text())
	}
	err := d.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if s := d.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() {
		return 128 + int(s.Signal())
	}
	return d.ProcessState.ExitCode()
}

// agent connects to the daemon's ssh-agent.
func (d *daemon) agent(t *testing.T) agent.ExtendedAgent {
	t.Helper()
	conn, err := net.Dial("unix", workspace.AgentSocket(d.Dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return agent.NewClient(conn)
}

// signable is what SSH signs for a commit (OpenSSH's PROTOCOL.sshsig): the agent
// signs nothing with a key of its source that means nothing.
const signable = "SSHSIG\x00\x00\x00\x03git\x00\x00\x00\x00\x00\x00\x00\x06sha256\x00\x00\x00\x200123456789abcdef0123456789abcdef"

// sign signs with the daemon's only key.
func (d *daemon) sign(t *testing.T) {
	t.Helper()
	a := d.agent(t)
	keys, err := a.List()
	if err != nil || len(keys) != 1 {
		t.Fatalf("the agent lists %d keys, %v; want one", len(keys), err)
	}
	signature, err := a.Sign(keys[0], []byte(signable))
	if err != nil {
		t.Fatalf("signing: %v", err)
	}
	if err := keys[0].Verify([]byte(signable), signature); err != nil {
		t.Fatalf("the signature does not verify: %v", err)
	}
}

func (d *daemon) held(t *testing.T) int {
	t.Helper()
	s, err := workspace.Status(t.Context(), d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return s.Held
}

func TestAgent(t *testing.T) {
	s := newServer(t, true)
	insecure := *s
	insecure.Server = httptest.NewServer(s.Config.Handler)
	defer insecure.Server.Close()
	token := newWorkspace(t, &insecure)
	d := startAgent(t, []string{"LATCHKEY_TOKEN=" + token, "LATCHKEY_CA_FILE=" + s.CAFile(t)}, "--url", s.URL, "--log", "json")
	var ready struct{ Msg, Socket, Token string }
	if err := json.Unmarshal([]byte(d.Log[len(d.Log)-1]), &ready); err != nil {
		t.Fatal(err)
	}
	if ready.Msg != "ready" || ready.Socket != filepath.Join(d.Dir, "agent.sock") || ready.Token != "LATCHKEY_TOKEN" {
		t.Errorf("the ready line is %+v; want the socket, and where the token was from", ready)
	}
	d.sign(t)
	if n := d.held(t); n != 1 {
		t.Errorf("after signing %d keys are held; want 1", n)
	}
	d.Process.Signal(syscall.SIGUSR1)
	d.await(t, "private key forgotten")
	if n := d.held(t); n != 0 {
		t.Errorf("after SIGUSR1 %d keys are held; want none", n)
	}
	state, err := workspace.Status(t.Context(), d.Dir)
	if err != nil || state.Process.Dumpable || state.Process.CoreSize != 0 || state.User != "ada" || state.Workspace != "dev" {
		t.Errorf("the status is %+v, %v; want a hardened process for ada's workspace dev", state, err)
	}
	if os.Geteuid() == 0 {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", d.Process.Pid))
		if err != nil || len(environ) == 0 || strings.Contains(string(environ), token[5:]) {
			t.Errorf("environ of the daemon is %q, %v; want one without the token", environ, err)
		}
	}
	d.Process.Signal(syscall.SIGTERM)
	if code := d.end(t); code != 0 {
		t.Errorf("after SIGTERM the exit status is %d; want 0", code)
	}
	for _, name := range []string{"agent.sock", "control.sock"} {
		if _, err := os.Lstat(filepath.Join(d.Dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind: %v", name, err)
		}
	}
	if log := strings.Join(d.Log, "\n"); strings.Contains(log, token[5:]) {
		t.Errorf("the log shows the token:\n%s", log)
	}
}

func TestAgentErrors(t *testing.T) {
	s := newServer(t, false)
	token := newWorkspace(t, s)
	typo := token[:20] + "_" + token[21:]
	file := filepath.Join(t.TempDir(), "token")
	if err := errors.Join(os.WriteFile(file, []byte(token), 0o600), os.Chmod(file, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		env    []string
		args   []string
		code   int
		stderr string // exactly; $DIR is the runtime directory
	}{
		{"no token", nil, nil, 1, `latchkey: error: no workspace token
latchkey: hint: "latchkey workspace create NAME --token-file FILE" makes one; give FILE by --token-file or LATCHKEY_TOKEN_FILE
`},
		{"mistyped token", []string{"LATCHKEY_TOKEN=" + typo}, nil, 1, `latchkey: error: the token of LATCHKEY_TOKEN: workspace token is mistyped: its checksum does not match: not authenticated
latchkey: hint: copy it again, or make a new one: latchkey workspace token create NAME --token-file FILE
`},
		{"session token", []string{"LATCHKEY_TOKEN=" + api.NewToken(api.SessionToken)}, nil, 1, `latchkey: error: the token of LATCHKEY_TOKEN is a session token, which speaks for a user; a workspace needs one of its own
latchkey: hint: make one: latchkey workspace create NAME
`},
		{"token file that others can read", nil, []string{"--token-file", file}, 1, `latchkey: error: the token file ` + file + ` has mode 0644: others can read it
latchkey: hint: chmod 600 ` + file + `, and make a new token if somebody may have read this one
`},
		{"plain http elsewhere", []string{"LATCHKEY_TOKEN=" + token}, []string{"--url", "http://keys.example"}, 1, `latchkey: error: server URL "http://keys.example": plain http is for loopback only, use https
latchkey: hint: the server's address is given by --url or LATCHKEY_URL, its certificate by --ca-file or LATCHKEY_CA_FILE
`},
		{"negative idle time", nil, []string{"--idle", "-1s"}, 2, "latchkey: error: flag --idle: \"-1s\": want a duration from now on, not one back\n"},
		{"keys neither taken nor passed on", nil, []string{"--no-add", "--add-upstream"}, 2, "latchkey: error: --add-upstream and --no-add: want one of them, keys are passed on or not taken\n"},
		{"a lifetime of keys passed on", nil, []string{"--add-upstream", "--add-lifetime", "8h"}, 2, "latchkey: error: --add-upstream and --add-lifetime: want one of them, how long keys live is the other agent's affair: ssh-agent -t\n"},
		{"no agent to pass keys to", []string{"LATCHKEY_TOKEN=" + token}, []string{"--add-upstream"}, 1, `latchkey: error: --add-upstream: there is no agent to add keys to, SSH_AUTH_SOCK is not set
latchkey: hint: set SSH_AUTH_SOCK to the socket of an agent of yours, or leave out --add-upstream: the daemon keeps what is added then
`},
		{"keys passed to itself", []string{"LATCHKEY_TOKEN=" + token, "SSH_AUTH_SOCK=$DIR/agent.sock"}, []string{"--add-upstream"}, 1, `latchkey: error: --add-upstream: there is no agent to add keys to, SSH_AUTH_SOCK is $DIR/agent.sock, this daemon's own
latchkey: hint: set SSH_AUTH_SOCK to the socket of an agent of yours, or leave out --add-upstream: the daemon keeps what is added then
`},
		{"negative age of the cache", []string{"LATCHKEY_TOKEN=" + token}, []string{"--secret-cache", "-1h"}, 2, "latchkey: error: flag --secret-cache: \"-1h\": want a duration from now on, not one back\n"},
		{"runtime directory that others can enter", []string{"LATCHKEY_TOKEN=" + token, "LATCHKEY_RUNTIME_DIR=$DIR/open"}, nil, 1, `latchkey: error: the runtime directory $DIR/open has mode 0755: other users may enter it
latchkey: hint: chmod 700 $DIR/open
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.Mkdir(dir+"/open", 0o700), os.Chmod(dir+"/open", 0o755), os.Chmod(dir, 0o700)); err != nil {
				t.Fatal(err)
			}
			for i := range tt.env {
				tt.env[i] = strings.ReplaceAll(tt.env[i], "$DIR", dir)
			}
			var stderr strings.Builder
			cmd := agentCommand(t, dir, tt.env, tt.args...)
			cmd.Stderr = &stderr
			cmd.Run()
			// Which gaps there are is the machine's affair.
			var said strings.Builder
			for line := range strings.Lines(stderr.String()) {
				if !strings.Contains(line, `msg="not protected"`) {
					said.WriteString(line)
				}
			}
			if want := strings.ReplaceAll(tt.stderr, "$DIR", dir); cmd.ProcessState.ExitCode() != tt.code || said.String() != want {
				t.Errorf("exit status %d, stderr\n%s\nwant %d,\n%s", cmd.ProcessState.ExitCode(), said.String(), tt.code, want)
			}
		})
	}
}

func TestAgentWithARevokedToken(t *testing.T) {
	s := newServer(t, false)
	ada := s.client(t, s.newUser(t, "ada", api.RoleUser))
	w, err := ada.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	if err := ada.RevokeWorkspaceToken(t.Context(), api.Me, "dev", w.Token.ID); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	out, _ := agentCommand(t, dir, []string{"LATCHKEY_TOKEN=" + w.Token.Token}, "--url", s.URL).CombinedOutput()
	for _, want := range []string{"latchkey: error: " + s.URL + " refuses the workspace token", "latchkey: hint: \"latchkey workspace token create dev --token-file FILE\" makes a new one, which a daemon reads when it starts\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the daemon says\n%s\nwant %q in it", out, want)
		}
	}
}

func TestAgentStartsWithoutTheServer(t *testing.T) {
	const nobodys = "http://127.0.0.1:1" // and no port that was closed, which may be another program's by now
	d := startAgent(t, []string{"LATCHKEY_TOKEN=" + api.NewToken(api.WorkspaceToken), "LATCHKEY_URL=" + nobodys})
	if log := strings.Join(d.Log, "\n"); !strings.Contains(log, "starting without the server") || !strings.Contains(log, nobodys) {
		t.Errorf("the log says\n%s\nwant that it starts without the server", log)
	}
	if keys, err := d.agent(t).List(); err != nil || len(keys) != 0 {
		t.Errorf("the agent lists %d keys, %v; want an empty list", len(keys), err)
	}
}

// The first signal waits for the signature under way, the second does not.
func TestAgentEndsAtTheSecondSignal(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	fetching, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v2/workspaceagents/me", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	mux.HandleFunc("GET /api/v2/workspaceagents/me/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode([]api.Key{{PublicKey: string(ssh.MarshalAuthorizedKey(public))}})
	})
	mux.HandleFunc("POST /api/v2/workspaceagents/me/keys/fetch", func(http.ResponseWriter, *http.Request) {
		close(fetching)
		<-release
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	defer close(release)
	d := startAgent(t, []string{"LATCHKEY_TOKEN=" + api.NewToken(api.WorkspaceToken), "LATCHKEY_URL=" + s.URL})
	ctx, cancel := context.WithCancel(t.Context())
	a := d.agent(t)
	go func() {
		defer cancel()
		a.Sign(public, []byte(signable)) // has no answer
	}()
	<-fetching
	d.Process.Signal(syscall.SIGTERM)
	d.await(t, "stopping")
	d.Process.Signal(syscall.SIGTERM)
	if code := d.end(t); code != 128+int(syscall.SIGTERM) {
		t.Errorf("after the second SIGTERM the exit status is %d; want %d", code, 128+int(syscall.SIGTERM))
	}
	<-ctx.Done()
}
