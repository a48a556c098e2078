package workspace

import (
	"cmp"
	"context"
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
	stay      api.DeliveryState            // of what can't be removed; "": all can
	detail    string                       // why they can't; "": "because"
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
			r.State, r.Detail = state, cmp.Or(f.detail, "because")
		} else {
			f.content[file.Path] = string(file.Content)
		}
		results = append(results, r)
	}
	return results
}

func (f *testFiles) Remove() (results []secretfile.Result) {
	f.mu.Lock()
	stay, left := f.stay, slices.Sorted(maps.Keys(f.content))
	f.mu.Unlock()
	if stay == "" {
		return f.Deliver(nil)
	}
	for _, path := range left {
		results = append(results, secretfile.Result{Path: path, State: stay, Detail: "because"})
	}
	return results
}

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
