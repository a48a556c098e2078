package workspace

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// wantWithin is within what the server is to be asked, for everything and for who may log
// in; 0: that is not to be asked.
func (f *followTest) wantWithin(when string, all, logins time.Duration) {
	f.Helper()
	synctest.Wait()
	f.alarm.mu.Lock()
	span := f.alarm.span
	f.alarm.mu.Unlock()
	if span != all {
		f.Errorf("%s: the server is to be asked within %v; want %v", when, span, all)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if logins == 0 && len(f.logins) > 0 || logins != 0 && (len(f.logins) == 0 || f.logins[len(f.logins)-1] != logins) {
		f.Errorf("%s: who may log in is to be asked within %v; want %v", when, f.logins, logins)
	}
	f.logins = nil
}

// What all workspaces are told together, they do not all ask about together; what is the
// user's own counts at once all the same.
func TestFollowUnhurried(t *testing.T) {
	inFollowTest(t, func(f *followTest) {
		changeHosts := func() { f.told.become(func() { f.told.hosts++ }) }
		for range 100 {
			changeHosts()
			synctest.Wait()
		}
		f.wantWithin("when known hosts were imported", unhurried, 0)
		f.pass(unhurried)
		f.want("then", 0, 1)
		changeHosts()
		f.wantWithin("when known hosts have changed", unhurried, 0)
		f.told.give()
		f.wantWithin("when the user's own has, too", spread, spread)
		changeHosts()
		f.wantWithin("when known hosts have changed again", spread, 0)
		f.pass(spread)
		f.want("then", 0, 1)

		restart := func() {
			f.told.become(func() { f.told.watchErr = api.ErrUnavailable })
			f.pass(watchMost)
			f.told.become(func() { f.told.watchErr = nil })
			<-f.asked // that the watch has begun is heard
		}
		restart()
		f.wantWithin("when the server was started anew", unhurried, unhurried)
		f.pass(unhurried)
		f.want("then", 0, 1)
		f.told.become(func() { f.told.watchErr = api.ErrUnavailable })
		f.told.give()
		restart()
		f.wantWithin("when the user's own has changed meanwhile", spread, spread)
	})
}

// So it is where the secrets are followed: a watch begins with the revision that they have.
func TestFollowUnhurriedWithSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &followTest{T: t, told: newSecretsServer()}
		f.follower = newFollower(nil, nil, func(within time.Duration) { f.logins = append(f.logins, within) })
		st := newSyncTest(t, f.told)
		st.heard = f.hear
		defer st.begin()()
		f.wantWithin("when the watch has begun", unhurried, unhurried)
		f.alarm.off()
		f.told.become(func() { f.told.hosts++ })
		f.wantWithin("when known hosts have changed", unhurried, 0)
		f.told.give()
		f.wantWithin("when the user's own has changed", spread, spread)
	})
}

func TestDaemonAsksWhoMayLogIn(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:0"} {
		d := NewDaemon(Config{Client: newClient(t, &testServer{}), SSHD: address})
		d.follow.hear(api.WatchEvent{Kind: api.WatchChanged, Revision: 1})
		if d.ssh != nil && d.ssh.alarm.span != spread {
			t.Errorf("after a change, who may log in is to be asked within %v; want %v", d.ssh.alarm.span, spread)
		}
	}
}
