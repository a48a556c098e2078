package workspace

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestSecretsWhileTheServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newSecretsServer(secret("a", "A", "~/a", "one"))
		st := newSyncTest(t, server)
		heard := 0
		st.heard = func(api.WatchEvent) { heard++ }
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
		before := heard
		server.become(func() { server.err = nil })
		st.pass(watchMost + time.Second)
		st.want("back", "A=one", "~/a=one", "")
		// It may have been started with another mode of keys, of which it tells nothing.
		if heard != before+1 {
			t.Errorf("that the server is back was heard %d times; want once", heard-before)
		}
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

// The files go at once when the daemon ends, also if a question about something else is
// not answered.
func TestSecretsGoWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSyncTest(t, newSecretsServer(secret("a", "A", "~/a", "one")))
		answer := make(chan struct{})
		d := &Daemon{secrets: st.secretSync}
		d.follow = newFollower(newSource(&testServer{}, nil), func(context.Context) error { <-answer; return nil }, d.ssh.ask)
		st.start(t.Context())
		st.want("before", "A=one", "~/a=one", "")
		stop := d.followServer(t.Context())
		d.follow.ask(spread)
		st.pass(spread)
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		if files := st.files.String(); files != "" {
			t.Errorf("while the known hosts are asked for, the files %q stay; want none", files)
		}
		select {
		case <-stopped:
			t.Error("stop has returned while the follower runs")
		default:
		}
		close(answer)
		<-stopped
	})
}
