package workspace

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A followTest runs a follower in a bubble of synctest, with a server whose keys it has
// listed. Nobody asks for keys but the follower.
type followTest struct {
	*testing.T
	*follower
	server *testServer
	told   *secretsServer // what is watched

	mu        sync.Mutex
	withdrawn int // how often the keys that are held were to be forgotten
	hosts     int // how often the known hosts were asked for
	refused   int
	logins    []time.Duration // within which it was to be asked who may log in by SSH
	asked     chan struct{}   // gets one if somebody waits, when that was to be asked
}

func inFollowTest(t *testing.T, test func(f *followTest)) {
	keys := []testKey{newEd25519(t), newEd25519(t)}
	synctest.Test(t, func(t *testing.T) {
		f := &followTest{T: t, server: &testServer{keys: keys}, told: newSecretsServer(), asked: make(chan struct{})}
		count := func(n *int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			*n++
		}
		source := newSource(f.server, nil)
		source.withdrawn = func() { count(&f.withdrawn) }
		source.refused = func(error) { count(&f.refused) }
		mustKeys(t, source)
		f.follower = newFollower(source, func(context.Context) error {
			count(&f.hosts)
			return f.server.answer(t.Context(), new(int))
		}, func(within time.Duration) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.logins = append(f.logins, within)
			select {
			case f.asked <- struct{}{}:
			default:
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { f.run(ctx) })
		running.Go(func() { watch(ctx, f.told, f.follower) })
		time.Sleep(spread)
		synctest.Wait()
		f.want("at the beginning", 0, 1) // also of what the server was started with anew
		f.logins = nil
		test(f)
		cancel()
		running.Wait()
	})
}

// want holds what has been done since the last time against what is wanted.
func (f *followTest) want(when string, withdrawn, hosts int) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.withdrawn != withdrawn || f.hosts != hosts {
		f.Errorf("%s: keys were to be forgotten %d times, and known hosts asked for %d times; want %d and %d", when, f.withdrawn, f.hosts, withdrawn, hosts)
	}
	f.withdrawn, f.hosts = 0, 0
}

// pass lets time pass, and everything happen that is due by then.
func (f *followTest) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// tell changes the server, which tells of it.
func (f *followTest) tell(change func()) {
	f.server.become(change)
	f.told.give()
	f.pass(spread)
}

// What the daemon holds follows the server, without anybody asking.
func TestFollow(t *testing.T) {
	hour := time.Hour
	for name, change := range map[string]func(*testServer){
		"rotated":             func(s *testServer) { s.keys = append([]testKey{newEd25519(t)}, s.keys[1]) },
		"deleted":             func(s *testServer) { s.keys = s.keys[:1] },
		"of sign mode":        func(s *testServer) { s.mode = api.SignMode },
		"for a host":          func(s *testServer) { s.policy.Hosts = []api.KeyHost{{Name: "forge", Fingerprint: "SHA256:x"}} },
		"not forwarded":       func(s *testServer) { s.policy.RefuseForwarded = true },
		"for a while":         func(s *testServer) { until := time.Now().Add(hour); s.policy.UsableUntil = &until },
		"over":                func(s *testServer) { until := time.Now(); s.policy.UsableUntil = &until },
		"replaced in an hour": func(s *testServer) { at := time.Now().Add(hour); s.expires = &at },
	} {
		t.Run(name, func(t *testing.T) {
			inFollowTest(t, func(f *followTest) {
				f.tell(func() { change(f.server) })
				f.want("when a key is "+name, 1, 1)
				listed := f.keys.terms
				if mustKeys(f.T, f.keys); !keeps(listed, f.keys.terms) || len(listed) != len(f.server.keys) {
					t.Errorf("what is offered is %+v; want what the server lists", listed)
				}
				f.tell(func() {})
				f.want("when something else has changed", 0, 1)
			})
		})
	}
}

// A time that was listed ends also if nobody tells, and if the server is away.
func TestFollowTime(t *testing.T) {
	for name, set := range map[string]func(*testServer, time.Time){
		"usable until": func(s *testServer, end time.Time) { s.policy.UsableUntil = &end },
		"expires":      func(s *testServer, end time.Time) { s.expires = &end },
	} {
		t.Run(name, func(t *testing.T) {
			inFollowTest(t, func(f *followTest) {
				end := time.Now().Add(10*time.Minute + time.Second)
				f.tell(func() { set(f.server, end) })
				f.want("when it is set", 1, 1)
				before, _ := f.server.requests()
				f.pass(time.Until(end) - 1)
				f.want("before it is over", 0, 0)
				if lists, _ := f.server.requests(); lists != before {
					t.Errorf("until then the keys were listed %d times; want none", lists-before)
				}
				f.server.become(func() { f.server.err = api.ErrUnavailable })
				f.pass(1)
				f.want("when it is over", 1, 0)
				f.server.become(func() { f.server.err, f.server.keys = nil, f.server.keys[:1] })
				f.pass(watchMost)
				f.want("when the server is back, with one key", 1, 1)
				f.pass(time.Hour)
				f.want("later", 0, 0)
			})
		})
	}
}

// A timer stands still while the machine sleeps: the clock is looked at now and then.
func TestFollowTimeAfterSleep(t *testing.T) {
	inFollowTest(t, func(f *followTest) {
		end := time.Now().Add(10 * time.Hour)
		f.tell(func() { f.server.policy.UsableUntil = &end })
		f.want("when it is set", 1, 1)
		f.keys.mu.Lock()
		slept := time.Now()
		for blob, t := range f.keys.terms {
			t.policy.UsableUntil = &slept // by the clock, when the machine wakes
			f.keys.terms[blob] = t
		}
		f.keys.mu.Unlock()
		f.pass(time.Minute)
		if f.mu.Lock(); f.withdrawn == 0 {
			t.Error("a minute after waking, a key is held whose time is over")
		}
		f.mu.Unlock()
	})
}

// A daemon that takes no secrets is told of the end all the same.
func TestFollowStopped(t *testing.T) {
	inFollowTest(t, func(f *followTest) {
		refusal := &api.Error{Kind: api.ErrUnauthenticated, Message: "revoked"}
		f.server.become(func() { f.server.err = refusal })
		f.told.become(func() { f.told.err = refusal })
		f.pass(spread)
		if f.mu.Lock(); f.refused != 1 {
			t.Errorf("the refusal was heard %d times; want once, at once", f.refused)
		}
		f.mu.Unlock()
		f.server.become(func() { f.server.err = nil })
		f.told.become(func() { f.told.err = nil })
		f.pass(watchMost + spread)
		if len(f.keys.terms) != 2 {
			t.Error("when the workspace is taken again, there are no keys")
		}
	})
}

// A server that can't be watched is asked from time to time.
func TestFollowWithoutWatch(t *testing.T) {
	inFollowTest(t, func(f *followTest) {
		f.told.become(func() { f.told.watchErr = &api.Error{Kind: api.ErrNotFound, Message: "404 page not found"} })
		f.pass(unhurried)
		f.mu.Lock()
		f.withdrawn, f.hosts = 0, 0
		f.mu.Unlock()
		f.server.become(func() { f.server.mode = api.SignMode })
		f.pass(pollEvery + unhurried)
		f.want("after the first poll", 1, 1)
	})
}

// A saying is a log that says when it has a text.
type saying struct {
	text string
	said chan struct{}
}

func (s *saying) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(s.text)) {
		s.said <- struct{}{}
	}
	return len(line), nil
}

// The key that a daemon holds is forgotten when it is rotated, with secrets and without.
func TestDaemonForgetsWhatIsRotated(t *testing.T) {
	for _, noSecrets := range []bool{false, true} {
		server := &testServer{keys: []testKey{newEd25519(t)}, secrets: newSecretsServer()}
		forgotten := &saying{"private key forgotten", make(chan struct{}, 10)}
		c := Config{
			Dir: filepath.Join(socketDir(t), "run"), Client: newClient(t, server), Idle: time.Hour,
			NoSecrets: noSecrets, Log: slog.New(slog.NewTextHandler(forgotten, nil)),
		}
		d, stop := startDaemon(t, c)
		var a agent.ExtendedAgent = dial(t, AgentSocket(c.Dir))
		if _, err := a.Sign(server.keys[0].public, sshsig("git")); err != nil {
			t.Fatal(err)
		}
		if d.source.Held() != 1 {
			t.Fatalf("after a signature %d keys are held; want 1", d.source.Held())
		}
		server.become(func() { server.keys = []testKey{newEd25519(t)} })
		server.secrets.give()
		<-forgotten.said
		if n := d.source.Held(); n != 0 {
			t.Errorf("with no secrets %t: after the rotation %d keys are held; want none", noSecrets, n)
		}
		stop()
	}
}
