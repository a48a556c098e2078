package workspace

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestSecretsOfARefusedWorkspace(t *testing.T) {
	revoked := &api.Error{Kind: api.ErrUnauthenticated, Message: "the token was revoked"}
	for name, refuse := range map[string]func(*syncTest){
		"told while it watches": func(st *syncTest) { st.server.become(func() { st.server.err = revoked }) },
		"by another request": func(st *syncTest) {
			st.server.become(func() { st.server.fetchErr, st.server.watchErr = revoked, api.ErrUnavailable })
			st.doubt(revoked)
		},
		"by a fetch": func(st *syncTest) {
			st.server.become(func() { st.server.fetchErr, st.server.given.Revision = revoked, 2 })
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
			st.server.become(func() { st.server.err, st.server.watchErr, st.server.fetchErr = nil, nil, nil })
			st.pass(watchMost + time.Second)
			st.want(name+", and taken back", "A=one", "~/a=one", "")
		})
	}
}

// The server refuses once, and the watch lives on, which tells of changes alone.
func TestSecretsOfAWorkspaceRefusedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSyncTest(t, newSecretsServer(secret("a", "A", "~/a", "one")))
		defer st.begin()()
		st.server.become(func() {
			st.server.fetchErr = &api.Error{Kind: api.ErrForbidden, Message: "the user is disabled"}
			st.server.given.Revision++
		})
		st.pass(spread)
		st.want("refused", "", "", "refuses this workspace")
		st.server.become(func() { st.server.fetchErr = nil })
		st.pass(2 * time.Second)
		st.want("taken back", "A=one", "~/a=one", "")
		if _, watches, _ := st.server.counts(); watches != 1 {
			t.Errorf("the server was watched %d times; want once: nothing was wrong with the watch", watches)
		}
	})
}

// What another request was refused is heard late: the server has changed its mind.
func TestSecretsOfAWorkspaceRefusedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSyncTest(t, newSecretsServer(secret("a", "A", "~/a", "one")))
		defer st.begin()()
		before, _ := st.state()
		for range 20 {
			st.doubt(api.ErrUnauthenticated)
			st.pass(time.Second)
		}
		st.want("not refused any more", "A=one", "~/a=one", "")
		if after, _ := st.state(); after.Generation != before.Generation || len(st.refusals) != 0 {
			t.Errorf("the generation is %d, after %d, with %d refusals; want no change", after.Generation, before.Generation, len(st.refusals))
		}
	})
}

// Something before the server refuses the reports alone.
func TestSecretsOfAWorkspaceWhoseReportsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		st := newSyncTest(t, server)
		failures := 1 << 30
		st.secretSync.server = unreportable{server, &failures, api.ErrForbidden}
		defer st.begin()()
		st.pass(time.Hour)
		st.want("reports refused", "A=one", "~/a=one", "")
		if fetches, _, _ := server.counts(); fetches > 3 {
			t.Errorf("there were %d fetches; want one more than usual", fetches)
		}
	})
}

// What can't be removed when the workspace is refused is removed later, also if
// the server goes away then.
func TestSecretsOfARefusedWorkspaceThatStay(t *testing.T) {
	for _, stay := range []api.DeliveryState{api.Failed, api.Blocked, api.Changed} {
		synctest.Test(t, func(t *testing.T) {
			st := newSyncTest(t, newSecretsServer(secret("a", "A", "~/a", "one")))
			become := func(state api.DeliveryState) {
				st.files.mu.Lock()
				defer st.files.mu.Unlock()
				st.files.stay = state
			}
			end := st.begin()
			become(stay)
			st.server.become(func() { st.server.err = api.ErrUnauthenticated })
			st.pass(time.Second)
			st.want("refused", "", "~/a=one", "refuses this workspace")
			st.server.become(func() { st.server.err = api.ErrUnavailable })
			st.pass(time.Hour)
			if n := strings.Count(st.log.String(), "the file of a secret stays"); n != 1 {
				t.Errorf("%s: the log says %d times that the file stays; want once", stay, n)
			}
			become("")
			st.pass(time.Minute)
			if left := st.files.String(); (left == "") == (stay == api.Changed) {
				t.Errorf("%s: a minute after it can be removed the files are %q", stay, left)
			}
			end()
		})
	}
}
