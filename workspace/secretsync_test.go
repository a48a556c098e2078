package workspace

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/secretfile"
)

// testFiles are files in no file system.
type testFiles struct {
	mu        sync.Mutex
	content   map[string]string
	states    map[string]api.DeliveryState // of paths that can't be delivered
	delivered []time.Time
}

func (f *testFiles) Deliver(files []secretfile.File) (results []secretfile.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delivered = append(f.delivered, time.Now())
	f.content = map[string]string{}
	for _, file := range files {
		r := secretfile.Result{Secret: file.Secret, Path: file.Path, Version: file.Version, State: api.Delivered}
		if state := f.states[file.Path]; state != "" {
			r.State, r.Detail = state, "because"
		} else {
			f.content[file.Path] = string(file.Content)
		}
		results = append(results, r)
	}
	return results
}

func (f *testFiles) Remove() []secretfile.Result { return f.Deliver(nil) }

func (f *testFiles) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, path := range slices.Sorted(maps.Keys(f.content)) {
		all = append(all, path+"="+f.content[path])
	}
	return strings.Join(all, " ")
}

// A syncTest runs a secretSync in a bubble of synctest.
type syncTest struct {
	*testing.T
	*secretSync
	server *secretsServer
	files  *testFiles
	log    syncBuffer

	refusals []error
}

// newSyncTest makes one; start and the goroutine of run are up to the test.
func newSyncTest(t *testing.T, server *secretsServer) *syncTest {
	st := &syncTest{T: t, server: server, files: &testFiles{}}
	st.secretSync = newSecretSync(server, st.files, "/home/ada", slog.New(slog.NewTextHandler(&st.log, nil)))
	st.collect = func() {} // a cleanup of the runtime's would come from outside of the bubble
	st.secretSync.refused = func(err error) { st.refusals = append(st.refusals, err) }
	return st
}

// run starts it and returns what ends it.
func (st *syncTest) begin() (end func()) {
	ctx, cancel := context.WithCancel(st.Context())
	st.start(ctx)
	var running sync.WaitGroup
	running.Go(func() { st.run(ctx) })
	synctest.Wait()
	return func() {
		cancel()
		running.Wait()
		st.stop()
	}
}

// pass lets time pass, and everything happen that is due by then.
func (st *syncTest) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (st *syncTest) want(when, variables, files, notice string) {
	st.Helper()
	state, _ := st.state()
	var got []string
	for _, v := range state.Variables {
		got = append(got, v.Name+"="+string(v.Value))
	}
	if v := strings.Join(got, " "); v != variables {
		st.Errorf("%s: the variables are %q; want %q", when, v, variables)
	}
	if f := st.files.String(); f != files {
		st.Errorf("%s: the files are %q; want %q", when, f, files)
	}
	if (notice == "") != (state.Notice == "") || !strings.Contains(state.Notice, notice) {
		st.Errorf("%s: the notice is %q; want %q", when, state.Notice, notice)
	}
}

func TestSecretsFollowTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		st := newSyncTest(t, server)
		defer st.begin()()
		st.want("at first", "A=one", "~/a=one", "")
		for _, tt := range []struct {
			name             string
			secrets          []api.DeliveredSecret
			variables, files string
		}{
			{"changed", []api.DeliveredSecret{secret("a", "A", "~/a", "two")}, "A=two", "~/a=two"},
			{"a second one", []api.DeliveredSecret{secret("a", "A", "~/a", "two"), secret("b", "B", "", "x")}, "A=two B=x", "~/a=two"},
			{"retargeted", []api.DeliveredSecret{secret("a", "C", "~/c", "two"), secret("b", "", "/b", "x")}, "C=two", "/b=x ~/c=two"},
			{"swapped", []api.DeliveredSecret{secret("a", "B", "/b", "two"), secret("b", "C", "~/c", "x")}, "B=two C=x", "/b=two ~/c=x"},
			{"one disabled or deleted", []api.DeliveredSecret{secret("b", "C", "~/c", "x")}, "C=x", "~/c=x"},
			{"none left", nil, "", ""},
		} {
			before, changed := st.state()
			began := time.Now()
			server.give(tt.secrets...)
			<-changed
			if took := time.Since(began); took > spread {
				t.Errorf("%s: that took %v; want at most %v", tt.name, took, spread)
			}
			st.want(tt.name, tt.variables, tt.files, "")
			if after, _ := st.state(); after.Generation == before.Generation {
				t.Errorf("%s: the generation is the same; want another", tt.name)
			}
			st.pass(time.Second)
			_, _, reports := server.counts()
			if last := reports[len(reports)-1]; last.Revision != server.given.Revision {
				t.Errorf("%s: the last report is about revision %d; want %d", tt.name, last.Revision, server.given.Revision)
			}
		}
		if fetches, watches, reports := server.counts(); fetches != 7 || watches != 1 || len(reports) != 7 {
			t.Errorf("that took %d fetches, %d watches, %d reports; want 7, 1, 7", fetches, watches, len(reports))
		}
	})
}

// The revision counts what is no secret as well. Who waits for a change of
// secrets, such as a command that is started anew, does not hear of it.
func TestSecretsSameAtAnotherRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		st := newSyncTest(t, server)
		defer st.begin()()
		before, _ := st.state()
		server.give(server.given.Secrets...)
		st.pass(time.Second)
		if after, _ := st.state(); after.Generation != before.Generation {
			t.Error("with the same secrets at another revision, the generation is another; want the same")
		}
		st.want("at another revision", "A=one", "~/a=one", "")
		_, _, reports := server.counts()
		if len(reports) != 2 || reports[1].Revision != 2 {
			t.Errorf("the reports are %+v; want one about each revision", reports)
		}
		// A server that was restored from a backup counts from there.
		server.become(func() { server.given.Revision, server.given.Secrets = 1, nil })
		st.pass(time.Second)
		st.want("at an earlier revision", "", "", "")
	})
}

func TestSecretsOfARefusedWorkspace(t *testing.T) {
	revoked := &api.Error{Kind: api.ErrUnauthenticated, Message: "the token was revoked"}
	for name, refuse := range map[string]func(*syncTest){
		"told while it watches": func(st *syncTest) { st.server.become(func() { st.server.err = revoked }) },
		"by another request": func(st *syncTest) {
			st.server.become(func() { st.server.watchErr = api.ErrUnavailable })
			st.refuse(revoked)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			st := newSyncTest(t, newSecretsServer(secret("a", "A", "~/a", "one")))
			defer st.begin()()
			values := st.current.values
			before, changed := st.state()
			refuse(st)
			<-changed
			st.pass(time.Second)
			st.want(name, "", "", "the key server refuses this workspace")
			if after, _ := st.state(); after.Generation == before.Generation {
				t.Errorf("%s: the generation is the same; want another", name)
			}
			if values.Bytes() != nil {
				t.Errorf("%s: the values are still in memory", name)
			}
			if len(st.refusals) != 1 {
				t.Errorf("%s: the refusal was told %d times; want once, for the keys", name, len(st.refusals))
			}
			st.pass(5 * time.Minute)
			if n := strings.Count(st.log.String(), "refuses this workspace"); n != 1 {
				t.Errorf("%s: the log says so %d times; want once", name, n)
			}
			// A user that was disabled may be enabled again.
			st.server.become(func() { st.server.err, st.server.watchErr = nil, nil })
			st.pass(watchMost + time.Second)
			st.want(name+", and taken back", "A=one", "~/a=one", "")
		})
	}
}

func TestSecretsWhileTheServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		st := newSyncTest(t, server)
		defer st.begin()()
		away := fmt.Errorf("no route: %w", api.ErrUnavailable)
		server.become(func() { server.err = away })
		st.pass(time.Hour)
		st.want("away", "A=one", "~/a=one", "the key server is away since ")
		if sum := st.summary(); sum.AwaySince == nil || sum.WatchedSince != nil || time.Since(*sum.AwaySince) != time.Hour {
			t.Errorf("the summary is %+v; want that the server is away for an hour", sum)
		}
		if _, watches, _ := server.counts(); watches < 120 || watches > 250 {
			t.Errorf("in an hour the server was tried %d times; want some 160, every 15 to 30 s", watches)
		}
		server.become(func() { server.err = nil })
		st.pass(watchMost + time.Second)
		st.want("back", "A=one", "~/a=one", "")
		if sum := st.summary(); sum.AwaySince != nil || sum.WatchedSince == nil {
			t.Errorf("the summary is %+v; want that the server is watched", sum)
		}
		if fetches, _, _ := server.counts(); fetches != 1 {
			t.Errorf("with the server back at the same revision there were %d fetches; want none but the first", fetches)
		}
		st.pass(watchedWell)
		server.become(func() { server.err = away })
		st.pass(time.Second)
		server.become(func() {
			server.err = nil
			server.given.Revision, server.given.Secrets = 9, []api.DeliveredSecret{secret("a", "A", "", "two")}
		})
		st.pass(10 * time.Second)
		st.want("back with a change", "A=two", "", "")
	})
}

func TestSecretsOfAServerThatIsAwayAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		server.err = api.ErrUnavailable
		st := newSyncTest(t, server)
		defer st.begin()()
		st.pass(time.Second)
		st.want("away", "", "", "there are no secrets yet, as the key server is away")
		if len(st.files.delivered) != 0 {
			t.Error("files were delivered; want those of an earlier life left alone until the server answers")
		}
		server.become(func() { server.err = nil })
		st.pass(10 * time.Second)
		st.want("there", "A=one", "~/a=one", "")
	})
}

func TestSecretsOfAServerThatCannotBeWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "", "one"))
		server.watchErr = &api.Error{Kind: api.ErrNotFound, Message: "404 page not found"}
		st := newSyncTest(t, server)
		defer st.begin()()
		server.give(secret("a", "A", "", "two"))
		st.pass(pollEvery + time.Second)
		st.want("after the first poll", "A=two", "", "")
		st.pass(10 * pollEvery)
		if fetches, _, _ := server.counts(); fetches < 11 || fetches > 13 {
			t.Errorf("in 11 times %v there were %d fetches; want one each", pollEvery, fetches)
		}
		if sum := st.summary(); !sum.Polled {
			t.Errorf("the summary is %+v; want that the server is polled", sum)
		}
		server.become(func() { server.watchErr = nil }) // it was updated
		st.pass(pollEvery + time.Second)
		if sum := st.summary(); sum.Polled || sum.WatchedSince == nil {
			t.Errorf("with a newer server the summary is %+v; want that it is watched", sum)
		}
	})
}

func TestSecretsOfAServerWithoutSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer()
		server.err = &api.Error{Kind: api.ErrNotFound, Message: "404 page not found"}
		st := newSyncTest(t, server)
		defer st.begin()()
		st.pass(time.Second)
		st.want("an older server", "", "", "")
		if n := len(st.files.delivered); n == 0 {
			t.Error("nothing was delivered; want that files of an earlier life are removed")
		}
		if _, _, reports := server.counts(); len(reports) != 0 {
			t.Errorf("there are reports %+v; want none to a server that takes none", reports)
		}
	})
}

func TestSecretsRefusedByTheWorkspacesOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		st := newSyncTest(t, server)
		defer st.begin()()
		server.become(func() { server.given.Refused, server.given.Revision = true, 2 })
		st.pass(time.Second)
		st.want("refused", "", "", noticeRefuses)
	})
}

// A file that the user had there may be moved away: nobody tells.
func TestSecretsRetryFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "", "~/a", "one"))
		st := newSyncTest(t, server)
		st.files.states = map[string]api.DeliveryState{"~/a": api.Blocked}
		defer st.begin()()
		st.pass(10 * time.Minute)
		tries := len(st.files.delivered)
		if tries < 12 || tries > 24 {
			t.Errorf("in ten minutes there were %d tries; want some 15", tries)
		}
		for i := 2; i < tries; i++ {
			if gap := st.files.delivered[i].Sub(st.files.delivered[i-1]); gap < 2500*time.Millisecond || gap > time.Minute {
				t.Errorf("between two tries were %v; want 2.5 s to a minute", gap)
			}
		}
		if _, _, reports := server.counts(); len(reports) != 1 || reports[0].Items[0].State != api.Blocked || reports[0].Items[0].Detail != "because" {
			t.Errorf("the reports are %+v; want one, that it is blocked and why", reports)
		}
		st.files.mu.Lock()
		st.files.states = nil
		st.files.mu.Unlock()
		st.pass(time.Minute)
		st.want("moved away", "", "~/a=one", "")
		if _, _, reports := server.counts(); len(reports) != 2 || reports[1].Items[0].State != api.Delivered {
			t.Errorf("the reports are %+v; want a second one, that it is delivered", reports)
		}
		tries = len(st.files.delivered)
		st.pass(time.Hour)
		if n := len(st.files.delivered) - tries; n != 0 {
			t.Errorf("after all was delivered it was tried %d times more; want none", n)
		}
	})
}

func TestSecretsRetryReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "", "one"))
		st := newSyncTest(t, server)
		failures := 3
		st.secretSync.server = unreportable{server, &failures, api.ErrUnavailable}
		defer st.begin()()
		st.pass(time.Minute)
		if _, _, reports := server.counts(); failures != 0 || len(reports) != 1 {
			t.Errorf("%d failures are left and %d reports were taken; want the report tried until it was taken, once", failures, len(reports))
		}
		// What is refused for what it says would be refused again.
		failures = 3
		st.secretSync.server = unreportable{server, &failures, api.ErrInvalid}
		server.give()
		st.pass(time.Hour)
		if failures != 2 {
			t.Errorf("an invalid report was sent %d times; want once", 3-failures)
		}
	})
}

type unreportable struct {
	*secretsServer
	failures *int
	err      error
}

func (u unreportable) ReportDelivery(ctx context.Context, r api.DeliveryReport) error {
	if *u.failures > 0 {
		*u.failures--
		return u.err
	}
	return u.secretsServer.ReportDelivery(ctx, r)
}

func TestBackoff(t *testing.T) {
	for n := range 100 {
		whole := watchMost
		if n < 8 {
			whole = min(watchMost, watchLeast<<n)
		}
		for range 20 {
			if d := backoff(n, watchLeast, watchMost); d < whole/2 || d > whole {
				t.Errorf("before try %d one waits %v; want %v to %v", n, d, whole/2, whole)
			}
		}
	}
}

// Something before the server says that there is nothing: it is not the server
// that has forgotten its secrets.
func TestSecretsOfAServerThatIsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		st := newSyncTest(t, server)
		defer st.begin()()
		server.become(func() {
			server.fetchErr = &api.Error{Kind: api.ErrNotFound, Message: "no route"}
			server.given.Revision++
		})
		st.pass(time.Minute)
		st.want("not found", "A=one", "~/a=one", "the key server is away since ")
		server.become(func() { server.fetchErr = nil })
		st.pass(watchMost + time.Second)
		st.want("found again", "A=one", "~/a=one", "")
	})
}
