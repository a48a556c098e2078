package keyserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func TestWatch(t *testing.T) {
	watchTest(t, func(t *testing.T, b *bubble, alice, box string) {
		bob, _ := b.newUser("bob")
		w := b.watch(box, "")
		if w.status != 200 || w.header.Get("Content-Type") != "text/event-stream" || w.header.Get("Cache-Control") != "no-store" || w.header.Get("Content-Length") != "" {
			t.Errorf("the watch begins with %d %v", w.status, w.header)
		}
		revision := b.revision("alice")
		w.want(t, "at the beginning", ":|"+event("changed", revision))
		begin := time.Now()
		for _, change := range [][3]string{
			{"POST", "/users/me/secrets", `{"name":"key","env_name":"KEY","value":"x"}`},
			{"PATCH", "/users/me/secrets/key", `{"value":"y"}`},
			{"PATCH", "/users/me/secrets", `{"secrets":[{"secret":"key","enabled":false}]}`},
			{"POST", "/users/me/secrets/batch", `{"format":"env","content":"A=b"}`},
			{"POST", "/users/me/secrets/key/rollback", ``},
			{"DELETE", "/users/me/secrets/key", ``},
			{"PUT", "/users/me/gitsshkey", ``},
			{"PUT", "/users/me/keys/default", `{"keep_old_seconds":3600}`},
			{"PATCH", "/users/me/keys/default", `{"mode":"sign"}`},
			{"PATCH", "/users/me/keys/default", `{"hosts":[{"name":"forge","fingerprint":"SHA256:` + strings.Repeat("A", 43) + `"}]}`},
			{"PATCH", "/users/me/keys/default", `{"refuse_forwarded":true}`},
			{"PATCH", "/users/me/keys/default", `{"usable_seconds":3600}`},
			{"POST", "/users/me/keys", `{"name":"deploy"}`},
			{"DELETE", "/users/me/keys/deploy", ``},
			{"PATCH", "/users/me/workspaces/box", `{"refuse_secrets":true}`},
			{"PATCH", "/users/me/workspaces/box", `{"key_mode":"sign"}`},
		} {
			b.do(change[0], change[1], alice, change[2], nil)
			revision++
			w.want(t, change[0]+" "+change[1], event("changed", revision))
		}
		b.do("POST", "/users/me/secrets", bob, `{"name":"key","env_name":"KEY","value":"x"}`, nil)
		b.do("PUT", "/workspaceagents/me/secrets/status", box, fmt.Sprintf(`{"revision":%d,"items":[]}`, revision), nil)
		b.do("GET", "/workspaceagents/me/secrets", box, "", nil)
		w.want(t, "changes of others, a report and a fetch", "")
		if time.Since(begin) != 0 {
			t.Errorf("all that took %v; want it at once", time.Since(begin))
		}
		before, err := b.Store.LastEvent(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		// It outlives what a whole request may take, by far.
		time.Sleep(10*time.Minute + time.Second)
		w.want(t, "after ten minutes", strings.TrimSuffix(strings.Repeat(":|", 40), "|"))
		b.do("POST", "/users/me/secrets", alice, `{"name":"late","env_name":"LATE","value":"x"}`, nil)
		w.want(t, "after that", event("changed", revision+1))
		w.stop()
		w.want(t, "stopped by its client", "end")
		if events, err := b.Store.Events(t.Context(), before.Seq, 10); err != nil || len(events) != 1 {
			t.Errorf("watching made the events %+v, %v; want the change alone", events, err)
		}
	})
}

func TestWatchResumes(t *testing.T) {
	watchTest(t, func(t *testing.T, b *bubble, alice, box string) {
		now := b.revision("alice")
		for last, want := range map[string]string{
			"":                     ":|" + event("changed", now),
			fmt.Sprint(now):        ":",
			fmt.Sprint(now - 1):    ":|" + event("changed", now),
			fmt.Sprint(now + 1000): ":|" + event("changed", now), // of a store that was restored
		} {
			w := b.watch(box, last)
			w.want(t, "from "+last, want)
			w.stop()
			w.said()
		}
		for _, last := range []string{"x", "0", "-1", "1.5", "99999999999999999999"} {
			w := b.watch(box, last)
			if got := w.said(); w.status != 400 || !strings.Contains(got, "Last-Event-ID") {
				t.Errorf("from %s: %d %s; want 400", last, w.status, got)
			}
		}
	})
}

// What another server does is told with the next heart-beat.
func TestWatchAnotherServer(t *testing.T) {
	watchTest(t, func(t *testing.T, b *bubble, alice, box string) {
		now := b.revision("alice")
		w := b.watch(box, fmt.Sprint(now))
		w.want(t, "at the beginning", ":")
		u, err := b.Store.UserNamed(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		sec := keyserver.Secret{ID: "1", UserID: u.ID, Name: "s", Version: 1}
		err = b.Store.ChangeSecrets(t.Context(), u.ID, now, keyserver.SecretChange{Put: []keyserver.Secret{sec}, Values: []keyserver.SecretValue{{Secret: "1", Version: 1}}, Keep: 1}, keyserver.Event{})
		if err != nil {
			t.Fatal(err)
		}
		w.want(t, "before the heart-beat", "")
		time.Sleep(15 * time.Second)
		w.want(t, "with the heart-beat", ":|"+event("changed", now+1))

		// A store that can't be read has not changed, and ends no watch.
		b.Store.set(func(b *brokenStore) { b.look = api.ErrUnavailable })
		time.Sleep(15 * time.Second)
		w.want(t, "with a store that can't be read", ":")
		b.Store.set(func(b *brokenStore) { b.look = nil })
		w.stop()
		w.said()
	})
}

// Known hosts are for the workspaces of all users, whose own revisions stay.
func TestWatchKnownHosts(t *testing.T) {
	watchTest(t, func(t *testing.T, b *bubble, alice, box string) {
		_, bobs := b.newUser("bob")
		users, watches := []string{"alice", "bob"}, []*watching{}
		for i, token := range []string{box, bobs} {
			watches = append(watches, b.watch(token, fmt.Sprint(b.revision(users[i]))))
			watches[i].want(t, "at the beginning", ":")
		}
		want := func(what, before string) {
			t.Helper()
			for i, w := range watches {
				w.want(t, what, before+event("changed", b.revision(users[i])))
			}
		}
		begin := time.Now()
		var added []api.KnownHost
		b.do("POST", "/known-hosts", b.admin, fmt.Sprintf(`{"content":%q}`, "@revoked forge.test "+hostKey(1)), &added)
		want("when one is added", "")
		b.do("GET", "/known-hosts", alice, "", nil)
		b.do("DELETE", "/known-hosts/"+added[0].ID, b.admin, "", nil)
		want("when it is deleted", "")
		if time.Since(begin) != 0 {
			t.Errorf("all that took %v; want it at once", time.Since(begin))
		}
		other := keyserver.KnownHost{ID: "1", Hosts: "other.test", KeyType: "ssh-ed25519", Key: []byte("key")}
		if err := b.Store.AddKnownHosts(t.Context(), []keyserver.KnownHost{other}, keyserver.Event{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		want("when another server adds one", ":|")
	})
}

// Who may not watch any more is told so at once, and forgets everything.
func TestWatchIsStopped(t *testing.T) {
	for name, end := range map[string]func(b *bubble, alice string){
		"the token is revoked": func(b *bubble, alice string) {
			var tokens []api.TokenInfo
			b.do("GET", "/users/me/workspaces/box/tokens", alice, "", &tokens)
			b.do("DELETE", "/users/me/workspaces/box/tokens/"+tokens[0].ID, alice, "", nil)
		},
		"the workspace is deleted": func(b *bubble, alice string) { b.do("DELETE", "/users/me/workspaces/box", alice, "", nil) },
		"the user is disabled":     func(b *bubble, _ string) { b.do("PATCH", "/users/alice", b.admin, `{"disabled":true}`, nil) },
		"the user is deleted":      func(b *bubble, _ string) { b.do("DELETE", "/users/alice", b.admin, "", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			watchTest(t, func(t *testing.T, b *bubble, alice, box string) {
				now := b.revision("alice")
				w := b.watch(box, fmt.Sprint(now))
				w.want(t, "at the beginning", ":")
				begin := time.Now()
				end(b, alice)
				w.want(t, name, event("stopped", now)+"|end")
				if time.Since(begin) != 0 {
					t.Errorf("it took %v; want it at once", time.Since(begin))
				}
				if again := b.watch(box, ""); again.status != 401 {
					t.Errorf("watching again is answered %d; want 401", again.status)
				}
			})
		})
	}
	t.Run("the token is revoked while the watch begins", func(t *testing.T) {
		watchTest(t, func(t *testing.T, b *bubble, alice, box string) {
			var tokens []api.TokenInfo
			b.do("GET", "/users/me/workspaces/box/tokens", alice, "", &tokens)
			revoke := func(u keyserver.User) keyserver.User { // once its token has been looked at
				b.Store.set(func(s *brokenStore) { s.user = nil })
				b.do("DELETE", "/users/me/workspaces/box/tokens/"+tokens[0].ID, alice, "", nil)
				return u
			}
			b.Store.set(func(s *brokenStore) { s.user = revoke })
			w := b.watch(box, "")
			if got := w.said(); !strings.HasSuffix(got, event("stopped", b.revision("alice"))+"|end") {
				t.Errorf("the watch says %q; want it stopped at once", got)
			}
		})
	})
	t.Run("the token expires", func(t *testing.T) {
		watchTest(t, func(t *testing.T, b *bubble, alice, _ string) {
			var made api.CreatedToken
			b.do("POST", "/users/me/workspaces/box/tokens", alice, `{"expires_in_seconds":40}`, &made)
			now := b.revision("alice")
			w := b.watch(made.Token, fmt.Sprint(now))
			time.Sleep(time.Minute)
			w.want(t, "after it has expired", ":|:|:|:|"+event("stopped", now)+"|end")
		})
	})
}

// A watch that ends with its server is not told to forget anything.
func TestWatchEndsWithServer(t *testing.T) {
	watchTest(t, func(t *testing.T, b *bubble, alice, box string) {
		w := b.watch(box, fmt.Sprint(b.revision("alice")))
		w.want(t, "at the beginning", ":")
		b.Server.EndWatches()
		b.Server.EndWatches() // may be called twice
		w.want(t, "when the server ends", "end")
		late := b.watch(box, "")
		if got := late.said(); late.status != 503 || !strings.Contains(got, "the server is stopping") {
			t.Errorf("watching a server that ends: %d %s; want 503", late.status, got)
		}
	})
}

func TestWatchesAreBounded(t *testing.T) {
	watchTest(t, func(t *testing.T, b *bubble, alice, box string) {
		var all []*watching
		for range 8 {
			all = append(all, b.watch(box, ""))
		}
		ninth := b.watch(box, "")
		if got := ninth.said(); ninth.status != 429 || !strings.Contains(got, "8 watches with this token") {
			t.Errorf("the ninth watch: %d %s; want 429", ninth.status, got)
		}
		if w := b.watch(b.newBox(alice, "den"), ""); w.status != 200 {
			t.Errorf("another workspace's watch: %d; want 200", w.status)
		}
		all[0].stop()
		all[0].said()
		if w := b.watch(box, ""); w.status != 200 {
			t.Errorf("a watch in the place of one that ended: %d; want 200", w.status)
		}
	})
}

// A client that does not read does not hold a watch for ever.
func TestWatchIsNotRead(t *testing.T) {
	config := keyserver.Config{MasterKey: newMasterKey(t)}
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, config, http1)
		_, box := b.newUser("alice")
		client, err := b.web.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(client, "GET /api/v2/workspaceagents/me/watch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", box)
		defer client.Close()
		time.Sleep(time.Minute) // and reads nothing; Shutdown in the end finds no request under way
	})
}
