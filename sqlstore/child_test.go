package sqlstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sqlstore"
)

// childEnv makes this test program another process of a store: its value is
// what to do and with which file.
const childEnv = "SQLSTORE_TEST_CHILD"

func TestMain(m *testing.M) {
	what, path, child := strings.Cut(os.Getenv(childEnv), " ")
	if !child {
		os.Exit(m.Run())
	}
	run := map[string]func(*sqlstore.Store) error{"storm": storm, "calm": calm, "append": appendEvents}[what]
	s, err := sqlstore.Open(context.Background(), path)
	if err == nil {
		err = errors.Join(run(s), s.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A child is another process that has the store open.
type child struct {
	*exec.Cmd
	out *bufio.Reader
	err strings.Builder
}

// startChild runs this program, as a child, behind the given command if any.
func startChild(t *testing.T, what, path string, behind ...string) *child {
	t.Helper()
	argv := append(behind, os.Args[0])
	c := &child{Cmd: exec.Command(argv[0], argv[1:]...)}
	c.Env = append(os.Environ(), childEnv+"="+what+" "+path)
	c.Stderr = &c.err
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	c.out = bufio.NewReader(out)
	return c
}

// lines reads what the child acknowledges: n lines, or with n < 0 all to its
// end. A last line without its end does not count.
func (c *child) lines(t *testing.T, n int) []string {
	t.Helper()
	var lines []string
	for ; n != 0; n-- {
		line, err := c.out.ReadString('\n')
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return lines
}

func (c *child) wait(t *testing.T) {
	t.Helper()
	if err := c.Wait(); err != nil {
		t.Fatalf("the child: %v\n%s", err, c.err.String())
	}
}

// storm makes users, rotates their keys and changes a secret of theirs from several goroutines until
// someone kills it. It writes each key to standard output when it has
// returned, in one write: "NAME GENERATION".
func storm(s *sqlstore.Store) error {
	var all sync.WaitGroup
	errs := make(chan error, 6)
	for i := range cap(errs) {
		all.Go(func() { errs <- stormOne(s, i) })
	}
	all.Wait()
	return <-errs
}

// calm is a storm of one.
func calm(s *sqlstore.Store) error { return stormOne(s, 0) }

func stormOne(s *sqlstore.Store, thread int) error {
	ctx := context.Background()
	for i := 0; ; i++ {
		name := fmt.Sprintf("%d-%d-%d", os.Getpid(), thread, i)
		if err := createUser(ctx, s, name); err != nil {
			return err
		}
		fmt.Println(name, 1)
		for generation := int64(2); generation < 6; generation++ {
			if err := rotate(ctx, s, name, generation); err != nil {
				return err
			}
			fmt.Println(name, generation)
			if err := keepSecret(ctx, s, name, generation); err != nil {
				return err
			}
		}
	}
}

func createUser(ctx context.Context, s keyserver.Store, name string) error {
	id, now := keyserver.UserID("id of "+name), time.Now()
	u := keyserver.User{ID: id, Name: name, Role: api.RoleUser, DataKey: []byte("data key"), Version: 1, CreatedAt: now, UpdatedAt: now}
	t := keyserver.Token{ID: keyserver.TokenID("token of " + name), Hash: api.HashToken(name), Kind: api.SessionToken, UserID: id, CreatedAt: now}
	return s.CreateUser(ctx, u, generationOf(name, 1), t, keyserver.Event{At: now, Action: "made", Target: name, Detail: "1"})
}

func rotate(ctx context.Context, s keyserver.Store, name string, generation int64) error {
	e := keyserver.Event{At: time.Now(), Action: "made", Target: name, Detail: fmt.Sprint(generation)}
	return s.RotateKey(ctx, generationOf(name, generation), time.Time{}, e)
}

func generationOf(name string, generation int64) keyserver.Key {
	return keyserver.Key{UserID: keyserver.UserID("id of " + name), Name: api.DefaultKey, Generation: generation, Algorithm: api.Ed25519,
		Fingerprint: fmt.Sprint("SHA256:", generation), Sealed: make([]byte, 100), CreatedAt: time.Now(), UpdatedAt: time.Now()}
}

// keepSecret gives a user's secret the next version of its value, of two
// pages, behind the rotation to that generation.
func keepSecret(ctx context.Context, s keyserver.Store, name string, generation int64) error {
	id := keyserver.SecretID("secret of " + name)
	return s.ChangeSecrets(ctx, keyserver.UserID("id of "+name), revisionOf(generation, generation-1), keyserver.SecretChange{
		Put:    []keyserver.Secret{{ID: id, Name: "secret", Version: generation}},
		Values: []keyserver.SecretValue{{Secret: id, Version: generation, Sealed: make([]byte, 5_000)}},
		Keep:   2,
	}, keyserver.Event{At: time.Now(), Action: "kept", Target: name, Detail: fmt.Sprint(generation)})
}

// revisionOf is a user's revision at a generation of their key and a version of
// their secret, which begins with 2; before it is 1.
func revisionOf(generation, version int64) int64 { return generation + version - 1 }

// appendEvents stores a hundred events from two goroutines.
func appendEvents(s *sqlstore.Store) error {
	errs := make(chan error, 2)
	for range cap(errs) {
		go func() {
			var err error
			for i := 0; i < 50 && err == nil; i++ {
				err = s.Record(context.Background(), keyserver.Event{At: time.Now(), Action: "appended", Actor: fmt.Sprint(os.Getpid())})
			}
			errs <- err
		}()
	}
	return errors.Join(<-errs, <-errs)
}

// checkWhole looks whether a store is whole: the chain is unbroken, each user
// has a token and one key, and the events tell of the generations that are
// there and of no others. It returns each user's generation.
func checkWhole(t *testing.T, s keyserver.Store) map[string]int64 {
	t.Helper()
	ctx := t.Context()
	events, err := s.Events(ctx, 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	told, kept := map[string]int64{}, map[string]int64{}
	var last keyserver.Event
	for _, e := range events {
		if !e.Follows(last) {
			t.Fatalf("event %d does not follow event %d", e.Seq, last.Seq)
		}
		last = e
		if e.Action == "kept" {
			kept[e.Target], err = strconv.ParseInt(e.Detail, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
		}
		if e.Action != "made" {
			continue
		}
		if e.Detail != fmt.Sprint(told[e.Target]+1) {
			t.Errorf("event %d tells that %s got generation %s after %d", e.Seq, e.Target, e.Detail, told[e.Target])
		}
		told[e.Target]++
	}
	users, err := s.Users(ctx, "", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		keys, err := s.Keys(ctx, u.ID)
		if err != nil || len(keys) != 1 {
			t.Fatalf("%s has %d keys (%v); want 1", u.Name, len(keys), err)
		}
		if keys[0].Generation != told[u.Name] {
			t.Errorf("%s has generation %d; the events tell of %d", u.Name, keys[0].Generation, told[u.Name])
		}
		checkSecret(t, s, u, told[u.Name], max(kept[u.Name], 1))
		if tokens, err := s.Tokens(ctx, u.ID, ""); err != nil || len(tokens) != 1 {
			t.Errorf("%s has %d tokens (%v); want 1", u.Name, len(tokens), err)
		}
	}
	if len(users) != len(told) {
		t.Errorf("there are %d users; the events tell of %d", len(users), len(told))
	}
	return told
}

// checkSecret looks whether a user has the version of the secret that the
// events tell of, with its value and the one before, and that revision.
func checkSecret(t *testing.T, s keyserver.Store, u keyserver.User, generation, version int64) {
	t.Helper()
	secrets, values, revision, err := s.CurrentValues(t.Context(), u.ID)
	if err != nil || revision != revisionOf(generation, version) {
		t.Errorf("%s has revision %d (%v); the events tell of %d", u.Name, revision, err, revisionOf(generation, version))
	}
	if version == 1 && len(secrets) == 0 {
		return
	}
	if len(secrets) != 1 || secrets[0].Version != version || len(values[0].Sealed) != 5_000 {
		t.Errorf("%s has the secrets %+v; the events tell of one of version %d", u.Name, secrets, version)
		return
	}
	if all, err := s.SecretValues(t.Context(), secrets[0].ID); err != nil || int64(len(all)) != min(version-1, 2) {
		t.Errorf("%s has %d values of version %d (%v); want 2, or 1 of the first", u.Name, len(all), version, err)
	}
}

// checkKept looks whether what a process acknowledged is there.
func checkKept(t *testing.T, s keyserver.Store, acknowledged []string) {
	t.Helper()
	there := checkWhole(t, s)
	for _, line := range acknowledged {
		name, number, _ := strings.Cut(line, " ")
		generation, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			t.Fatalf("the child wrote %q", line)
		}
		if there[name] < generation {
			t.Errorf("generation %d of %s was acknowledged; there is generation %d (0: no user)", generation, name, there[name])
		}
	}
}
