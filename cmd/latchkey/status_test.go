package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/workspace"
)

// startDaemon runs a workspace daemon in this process until the test ends, in
// the runtime directory that newHome has set.
func startDaemon(t *testing.T, s *testServer, token string, set ...func(*workspace.Config)) {
	t.Helper()
	dir := shortDir(t)
	t.Setenv("LATCHKEY_RUNTIME_DIR", dir)
	ready := make(chan string, 1)
	config := workspace.Config{
		Dir: dir, Client: s.client(t, token), Idle: sshagent.DefaultIdle, Version: "test",
		Ready: func(socket string) { ready <- socket },
	}
	for _, f := range set {
		f(&config)
	}
	d := workspace.NewDaemon(config)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { ended <- d.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the daemon ended: %v", err)
	}
}

func TestStatus(t *testing.T) {
	s := loggedIn(t)
	path, _ := loginPath()
	k := decode[api.Key](t, latchkey(t, "key", "show", "--json"))
	latchkey(t, "status").expect(t, 0, ""+
		"server  "+s.URL+", reachable\n"+
		"user    ada (user), by "+path+"\n"+
		"key     default "+k.Fingerprint+", generation 1\n"+
		"daemon  not running\n", "")

	token := strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout)
	startDaemon(t, s, token)
	got := latchkey(t, "status").ok(t)
	for _, want := range []string{
		"\n  workspace  box of ada\n",
		"agent.sock (not in use here: eval \"$(latchkey env)\")\n",
		"\n  key        " + k.Fingerprint + " ",
		"\n  held       0 private keys, forgotten after 60s\n",
		"\n  server     " + s.URL + ", reachable\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("status has no %q:\n%s", want, got.stdout)
		}
	}
	var report struct {
		Login  loginStatus
		Daemon workspace.State
	}
	if err := json.Unmarshal([]byte(latchkey(t, "status", "--json").ok(t).stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Login.User != "ada" || !report.Login.Reachable || report.Daemon.Workspace != "box" {
		t.Errorf("status --json = %+v; want ada, reachable, and the workspace box", report)
	}
}

// A gap in the daemon's protection is shown, a sentence each.
func TestStatusShowsGaps(t *testing.T) {
	r := statusReport{Daemon: &workspace.State{}}
	r.Daemon.Process.Gaps = []string{"core dumps are on: set a limit", "memory may be swapped"}
	rows := r.daemonRows()
	for i, gap := range r.Daemon.Process.Gaps {
		if got := rows[len(rows)-2+i]; got[0] != "  unprotected" || got[1] != gap {
			t.Errorf("row %d of the daemon's status is %q; want the gap %q", i, got, gap)
		}
	}
}

// The exit status says whether what should work does.
func TestStatusOfWhatDoesNotWork(t *testing.T) {
	newHome(t)
	got := latchkey(t, "status")
	got.expect(t, 1, "login   none\ndaemon  not running\n", "latchkey: error: no workspace daemon runs here, and you are not logged in\n"+
		"latchkey: hint: in a workspace: latchkey agent; elsewhere: \"latchkey login URL\", with the token that the server's admin gave you\n")

	s := loggedIn(t)
	token := strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout)
	startDaemon(t, s, token)
	// A workspace needs no login.
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "none"))
	got = latchkey(t, "status").ok(t)
	if !strings.HasPrefix(got.stdout, "login ") || !strings.Contains(got.stdout, "\n  workspace  box of ada\n") {
		t.Errorf("status in a workspace without a login =\n%s", got.stdout)
	}
	for _, what := range []string{"secret", "workspace", "known-host"} {
		latchkey(t, what, "list").expect(t, 1, "", "latchkey: error: not logged in\n"+
			"latchkey: hint: this takes a login of yours, which the workspace's token is not: \"latchkey login URL\", with the token that the server's admin gave you\n")
	}

	s.Close()
	got = latchkey(t, "status")
	if got.code != 1 || !strings.Contains(got.stdout, "\n  server   "+s.URL+", not reachable\n") ||
		!strings.HasPrefix(got.stderr, "latchkey: error: the workspace daemon: ") ||
		!strings.HasSuffix(got.stderr, "latchkey: hint: is latchkeyd running at "+s.URL+", and this workspace in its list (\"latchkey workspace list\")? the daemon's log says more\n") {
		t.Errorf("status with the daemon's server away = %+v", got)
	}
}

func TestStatusWithoutServer(t *testing.T) {
	s := loggedIn(t)
	s.Close()
	got := latchkey(t, "status")
	if got.code != 1 || !strings.HasPrefix(got.stdout, "server  "+s.URL+", not reachable\n") || !strings.HasSuffix(got.stderr, "latchkey: hint: is latchkeyd running at "+s.URL+"?\n") {
		t.Errorf("status without a server = %+v", got)
	}
}

// In a workspace the daemon knows the public key, and nobody need log in.
func TestPublicKeyFromTheDaemon(t *testing.T) {
	s := loggedIn(t)
	want := latchkey(t, "publickey").ok(t).stdout
	token := strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout)
	startDaemon(t, s, token)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "none"))
	latchkey(t, "publickey").expect(t, 0, want, "")
	got := latchkey(t, "publickey", "work")
	got.expect(t, 1, "", "latchkey: error: key work: the workspace daemon does not know keys by their names\nlatchkey: hint: latchkey login "+s.URL+"\n")
}

// The status says of secrets how many are there, and what is not and why.
func TestStatusShowsSecrets(t *testing.T) {
	now := time.Now()
	hour := now.Add(-5 * time.Hour)
	items := []api.DeliveryItem{
		{Secret: "npm", Target: api.EnvTarget, Where: "NPM_TOKEN", State: api.Delivered},
		{Secret: "key", Target: api.FileTarget, Where: "~/key", State: api.Changed, Detail: "move it away"},
	}
	for _, tt := range []struct {
		name   string
		status workspace.StateSecrets
		want   []string
	}{
		{"watched", workspace.StateSecrets{Revision: 7, Delivered: 1, Items: items, Memory: "mlock", FilesInMemory: true, WatchedSince: &hour, Missing: []api.Requirement{{EnvName: "AWS", Help: "ask ops"}, {FilePath: "~/k"}}}, []string{
			"  secrets: 1 of 2 targets delivered, revision 7, values in mlock, files in memory",
			": key, ~/key: changed, move it away",
			"  needed: AWS: ask ops", "  needed: ~/k",
			"  changes: at once, connected since 5 hours ago",
		}},
		{"away, with a cache", workspace.StateSecrets{AwaySince: &hour, Notice: "away", CachedAt: &hour, CacheSeconds: 86400}, []string{
			"  secrets: 0 of 0 targets delivered", "  changes: none, the server is away since 5 hours ago", "  notice: away", "  cache: of 5 hours ago, good for 24 hours",
		}},
		{"polled, nothing cached", workspace.StateSecrets{Polled: true, CacheSeconds: 60}, []string{
			"  secrets: 0 of 0 targets delivered", "  changes: within a minute, the server is too old to tell", "  cache: none yet, good for 60 seconds",
		}},
		{"connecting", workspace.StateSecrets{}, []string{"  secrets: 0 of 0 targets delivered", "  changes: none, connecting"}},
		{"off", workspace.StateSecrets{Off: true, Notice: "told so"}, []string{"  secrets: none: told so"}},
	} {
		var got []string
		for _, row := range secretRows(tt.status, now) {
			got = append(got, row[0]+": "+row[1])
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: the rows are\n%q\nwant\n%q", tt.name, got, tt.want)
		}
	}
}

// Whose key is not known to the SSH server sees there which one it is. What a stranger
// called himself does nothing to the terminal.
func TestStatusShowsSSHRefusal(t *testing.T) {
	rows := sshRows(&workspace.StateSSH{Address: "127.0.0.1:2222", Refusal: &workspace.StateSSHRefusal{
		At: time.Now(), User: "al\x1b[2Jice", Keys: []string{"SHA256:a", "SHA256:b"}, Remote: "192.0.2.1:22", Why: "no such login key of alice",
	}})
	want := []string{"  ssh refused", "just now, al\ufffd[2Jice from 192.0.2.1:22 with SHA256:a SHA256:b: no such login key of alice"}
	if got := rows[len(rows)-1]; !slices.Equal(got, want) {
		t.Errorf("the last row is %q; want %q", got, want)
	}
}

// What a key has not signed, and why, is shown where its user looks.
func TestStatusShowsRefusals(t *testing.T) {
	s := loggedIn(t)
	latchkey(t, "key", "set", "--mode", "sign").ok(t)
	startDaemon(t, s, strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout))
	k := decode[api.Key](t, latchkey(t, "key", "show", "--json"))
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", workspace.AgentSocket(os.Getenv("LATCHKEY_RUNTIME_DIR")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := agent.NewClient(conn)
	file := append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Algorithm, Hash string }{"file", "", "sha256", strings.Repeat("h", 32)})...)
	if _, err := client.Sign(key, file); err == nil {
		t.Error("a file was signed; want a refusal: the default is git only")
	}
	got := latchkey(t, "status").ok(t)
	for _, want := range []string{
		"it stays at the server, which signs; it logs in everywhere; SSH signatures for git\n",
		"\n  held       0 private keys, ",
		"\n  kept back  just now, " + k.Fingerprint + " latchkey:ada: the key makes SSH signatures in the namespace git only, not in \"file\"",
		`"latchkey key set default --namespace …", with all it signs for, allows another`,
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s", want, got.stdout)
		}
	}
	if r := decode[statusReport](t, latchkey(t, "status", "--json")).Daemon.Refusals; len(r) != 1 || r[0].Key != k.Fingerprint || r[0].Comment != "latchkey:ada" {
		t.Errorf("the refusals are %+v; want one, with the key's fingerprint and its comment", r)
	}
	if strings.Contains(got.stdout, "\n  locked ") {
		t.Errorf("the agent is said to be locked:\n%s", got.stdout)
	}
	if err := client.Lock([]byte("password")); err != nil {
		t.Fatal(err)
	}
	if got := latchkey(t, "status").ok(t); !strings.Contains(got.stdout, "\n  locked     no key is offered") {
		t.Errorf("a locked agent is not said to be:\n%s", got.stdout)
	}
}

// Whose agent has the keys that ssh-add adds, is shown with the agents.
func TestStatusShowsWhoTakesAddedKeys(t *testing.T) {
	s := loggedIn(t)
	own := filepath.Join(t.TempDir(), "own.sock")
	for _, add := range []bool{false, true} {
		name := fmt.Sprintf("box-%t", add)
		startDaemon(t, s, strings.TrimSpace(latchkey(t, "workspace", "create", name).ok(t).stdout), func(c *workspace.Config) {
			c.Upstream, c.AddUpstream = own, add
		})
		got := latchkey(t, "status").ok(t)
		if want := "\n             has what ssh-add adds here, and not the daemon (--add-upstream)\n"; strings.Contains(got.stdout, want) != add {
			t.Errorf("with --add-upstream %t the status has %q or not:\n%s", add, want, got.stdout)
		}
		if a := decode[statusReport](t, latchkey(t, "status", "--json")).Daemon.Agents; len(a) != 1 || a[0].TakesAdded != add {
			t.Errorf("with --add-upstream %t the agents are %+v", add, a)
		}
	}
}

// Who may log in by SSH is said only of what is served.
func TestStatusShowsSSH(t *testing.T) {
	served := workspace.StateSSH{Address: "127.0.0.1:2222", HostKey: "SHA256:x", Users: []string{"ada", "dev"}, LoginKeys: 1}
	ended := served
	ended.Ended, ended.Error = true, "SSH is not served any more"
	for _, tt := range []struct {
		state *workspace.StateSSH
		want  []string
	}{
		{nil, nil},
		{&workspace.StateSSH{Address: ":22"}, []string{"  ssh: :22, waiting for its host key"}},
		{&served, []string{"  ssh: 127.0.0.1:2222, for ada or dev, by 1 login key", "  host key: SHA256:x"}},
		{&ended, []string{"  ssh: 127.0.0.1:2222, not served any more", "  ssh trouble: SSH is not served any more"}},
	} {
		var got []string
		for _, row := range sshRows(tt.state) {
			got = append(got, row[0]+": "+row[1])
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%+v is shown as\n%q\nwant\n%q", tt.state, got, tt.want)
		}
	}
}
