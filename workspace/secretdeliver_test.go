package workspace

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

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
		if n := strings.Count(st.log.String(), "not as it should be"); n != 1 {
			t.Errorf("the log says so %d times; want once, as nothing has changed:\n%s", n, st.log.String())
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
