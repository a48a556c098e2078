package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// The operator's way in, with a server that runs and without.
func TestToken(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	admin := r.client(r.firstToken())
	if _, err := admin.CreateUser(t.Context(), api.CreateUserRequest{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	tokenOf := func(args ...string) string {
		m := loginLine.FindStringSubmatch(strings.TrimSpace(s.must(t, args...)))
		if m == nil || m[2] != r.url {
			t.Fatalf("latchkeyd %q does not print a line that logs in to %s", args, r.url)
		}
		return m[1]
	}
	token := tokenOf("token", "alice")
	if u, err := r.client(token).User(t.Context(), api.Me); err != nil || u.Name != "alice" {
		t.Errorf("with the token of latchkeyd token alice: %q, %v; want alice", u.Name, err)
	}
	s.refused(t, exitError, "there is no user bob", "latchkey user list", "token", "bob")
	s.refused(t, exitError, `there is no user \[a token\]`, "", "token", token)
	disabled := true
	if _, err := admin.UpdateUser(t.Context(), "alice", api.UpdateUserRequest{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	s.refused(t, exitError, "alice is disabled", "enable", "token", "alice")
	r.stop()

	token = tokenOf("token", "--data", s.data(), "admin")
	if tail := s.must(t, "audit", "tail", "-n", "1"); !strings.Contains(tail, "token.create") || !strings.Contains(tail, "server") {
		t.Errorf("the newest event is %q; want the token that the operator made", tail)
	}
	again := s.serve(t)
	if u, err := again.client(token).User(t.Context(), api.Me); err != nil || u.Name != "admin" {
		t.Errorf("with a token that was made while no server ran: %q, %v; want admin", u.Name, err)
	}
}

func TestOperatorWithoutServer(t *testing.T) {
	s := newSite(t)
	for _, args := range [][]string{{"token", "admin"}, {"audit", "tail"}, {"audit", "verify"}} {
		s.refused(t, exitError, "there is no data directory "+s.data(), "latchkeyd serve.*--data DIR or LATCHKEYD_DATA", args...)
	}
	if err := os.MkdirAll(s.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"token", "admin"}, {"audit", "tail"}, {"audit", "verify"}} {
		s.refused(t, exitError, "there is no store in "+s.data(), "latchkeyd serve", args...)
	}
	if _, err := os.Stat(s.data("latchkey.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a command that only reads has made a store (%v)", err)
	}
}

func TestAuditTail(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	admin := r.client(r.firstToken())
	for i := range 30 {
		if _, err := admin.CreateUser(t.Context(), api.CreateUserRequest{Name: fmt.Sprintf("user%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"tail"}, 20},
		{[]string{"tail", "-n", "3"}, 3},
		{[]string{"tail", "--count=0"}, 0},
		{[]string{"tail", "--all"}, 32},
		{[]string{"tail", "-n", "1000"}, 32},
	} {
		lines := slices.Collect(strings.Lines(s.must(t, append([]string{"audit", "--json"}, tt.args...)...)))
		if len(lines) != tt.want {
			t.Fatalf("audit %q prints %d events; want %d", tt.args, len(lines), tt.want)
		}
		for i, line := range lines {
			var e api.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if want := int64(32 - tt.want + i + 1); e.Seq != want || len(e.ChainHash) != 64 {
				t.Fatalf("audit %q: line %d is event %d with hash %q; want event %d", tt.args, i, e.Seq, e.ChainHash, want)
			}
		}
	}
	text := s.must(t, "audit", "tail", "-n", "1")
	if !regexp.MustCompile(`^32  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ok      user:admin  user.create  user29  127\.0\.0\.1`).MatchString(text) {
		t.Errorf("audit tail prints %q", text)
	}
	s.refused(t, exitUsage, "flag -n", "", "audit", "tail", "-n", "-1")
	s.refused(t, exitUsage, `flag -n: "x": want a number`, "", "audit", "tail", "-n", "x")
}

func TestAuditFollow(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	admin := r.client(r.firstToken())
	cmd := s.command(t, "audit", "tail", "-f", "-n", "1", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func() (e api.Event) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("audit tail -f ended: %v", cmd.Wait())
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	before := next()
	if _, err := admin.CreateUser(t.Context(), api.CreateUserRequest{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	if e := next(); e.Seq != before.Seq+1 || e.Target != "alice" {
		t.Errorf("after a user was made audit tail -f prints %+v; want that", e)
	}
	cmd.Process.Signal(syscall.SIGINT)
	for lines.Scan() {
		t.Errorf("audit tail -f prints %q", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("audit tail -f after SIGINT: %v; want exit status 0", err)
	}
}

func TestAuditVerify(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	admin := r.client(r.firstToken())
	for i := range 5 {
		if _, err := admin.CreateUser(t.Context(), api.CreateUserRequest{Name: fmt.Sprintf("user%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	events, err := admin.Audit(t.Context(), 6, 1)
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	if got, want := s.must(t, "audit", "verify"), "the chain of 7 events is whole: "+events[0].ChainHash+"\n"; got != want {
		t.Errorf("audit verify prints %q; want %q", got, want)
	}
	r.stop()
	change(t, s.data("latchkey.db"), `UPDATE events SET target = CAST('nobody' AS BLOB) WHERE seq = 4`)
	s.refused(t, exitError, "event 4 does not follow event 3: the audit log was changed", "the first 3 events are as they were written", "audit", "verify")
	change(t, s.data("latchkey.db"), `UPDATE events SET facts = CAST('{"kind":"login"}' AS BLOB) WHERE seq = 3`)
	s.refused(t, exitError, "event 3 does not follow event 2: the audit log was changed", "the first 2 events are as they were written", "audit", "verify")
}

func TestStoreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, problem, hint string
		spoil               func(t *testing.T, path string)
	}{
		{"of a newer program", "used by a newer Latchkey", "run the newer latchkeyd again", func(t *testing.T, path string) {
			change(t, path, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
		}},
		{"no database", "not a database", "restore", func(t *testing.T, path string) {
			writeFile(t, path, []byte(strings.Repeat("no database ", 1000)), 0o600)
		}},
		{"a directory", "not a regular file", "", func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.serve(t).stop()
			tt.spoil(t, s.data("latchkey.db"))
			s.refused(t, exitError, tt.problem, tt.hint, "serve", "--listen", "127.0.0.1:0")
			s.refused(t, exitError, tt.problem, tt.hint, "token", "admin")
			s.refused(t, exitError, tt.problem, tt.hint, "audit", "verify")
		})
	}
}

// change changes a database behind the server's back.
func change(t testing.TB, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path) // the driver comes with sqlstore
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(context.WithoutCancel(t.Context()), statement)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// The backup of docs/operating.md: taken while the server writes, and enough
// with the master key to go on from.
func TestBackup(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	token := r.firstToken()
	if _, err := r.client(token).CreateUser(t.Context(), api.CreateUserRequest{Name: "before"}); err != nil {
		t.Fatal(err)
	}
	restored := newSite(t)
	if err := os.MkdirAll(restored.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	change(t, s.data("latchkey.db"), "VACUUM INTO '"+restored.data("latchkey.db")+"'")
	writeFile(t, restored.data("master.key"), []byte(readFile(t, s.data("master.key"))), 0o600)
	if _, err := r.client(token).CreateUser(t.Context(), api.CreateUserRequest{Name: "after"}); err != nil {
		t.Errorf("after the backup the server does not go on: %v", err)
	}
	again := restored.serve(t)
	if _, err := again.client(token).User(t.Context(), "before"); err != nil {
		t.Errorf("in the restored server: %v; want the user that was there", err)
	}
	if _, err := again.client(token).User(t.Context(), "after"); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("in the restored server, a user made after the backup: %v; want ErrNotFound", err)
	}
	again.stop()
	restored.must(t, "audit", "verify")
}
